# Visavis in a container: `docker build --target cpu .` (default) or `--target cuda .`. See docs/docker.md.
# Code lies in /app/src; /app/checkpoints, /app/data and /app/output are meant to be mounted.
# The two targets repeat each other but for the base and the packages: no builder shares steps between bases.

FROM nvcr.io/nvidia/tensorrt:25.08-py3 AS cuda
ENV HOME=/home/visavis VISAVIS_HOME=/home/visavis/.cache/visavis VISAVIS_MODELS=/app/checkpoints \
    GRADIO_SERVER_NAME=0.0.0.0 PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/venv/bin:$PATH
WORKDIR /app/src
COPY packages.txt requirements*.txt ./
RUN apt-get update && xargs apt-get install -y --no-install-recommends <packages.txt && \
    rm -rf /var/lib/apt/lists/*
# The base's own Python packages (TensorRT) stay visible, and our versions go before them.
RUN python3 -m venv --system-site-packages --without-pip /opt/venv && \
    python -m pip install --no-cache-dir -r requirements.txt
RUN (getent passwd 1000 || useradd --uid 1000 --home-dir $HOME visavis) && \
    mkdir -p $HOME/.cache ../checkpoints ../data ../output && ln -s ../checkpoints ../data ../output . && \
    chown -R 1000:1000 $HOME ../checkpoints ../data ../output
COPY . .
RUN python -m compileall -q .
USER 1000:1000
EXPOSE 8000 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "scripts/health.py", "8000", "7860"]
CMD ["python", "api_server.py", "--host", "0.0.0.0", "--port", "8000"]

FROM python:3.11-slim-bookworm AS cpu
ENV HOME=/home/visavis VISAVIS_HOME=/home/visavis/.cache/visavis VISAVIS_MODELS=/app/checkpoints \
    GRADIO_SERVER_NAME=0.0.0.0 PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app/src
COPY packages.txt requirements*.txt ./
RUN apt-get update && xargs apt-get install -y --no-install-recommends <packages.txt && \
    rm -rf /var/lib/apt/lists/*
# requirements.txt adds torch (2.7 GB), which lite and Ditto's ONNX graphs do without.
ARG REQUIREMENTS=requirements-base.txt
RUN python -m pip install --no-cache-dir -r $REQUIREMENTS
RUN (getent passwd 1000 || useradd --uid 1000 --home-dir $HOME visavis) && \
    mkdir -p $HOME/.cache ../checkpoints ../data ../output && ln -s ../checkpoints ../data ../output . && \
    chown -R 1000:1000 $HOME ../checkpoints ../data ../output
COPY . .
RUN python -m compileall -q .
USER 1000:1000
EXPOSE 8000 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "scripts/health.py", "8000", "7860"]
CMD ["python", "api_server.py", "--host", "0.0.0.0", "--port", "8000"]
