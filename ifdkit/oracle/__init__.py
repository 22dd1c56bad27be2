"""An oracle: a language model behind an HTTP API, asked within limits and never twice."""
