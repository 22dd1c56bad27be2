"""Drawing what was computed: on a terminal now, on paper later. Computes nothing."""
