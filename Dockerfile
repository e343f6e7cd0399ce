# syntax=docker/dockerfile:1
# One image for web, worker and the preparation of the database. For CPUs: `docker build -t millm:cpu .`
# For NVIDIA GPUs: `docker build --build-arg TORCH=cu130 -t millm:cuda .`

# The Python version of the tests.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS packages
# The build of PyTorch: `cpu`, or a CUDA version.
ARG TORCH=cpu
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/${TORCH}
RUN python -m venv /venv
COPY requirements.txt requirements-web.txt /
# PyTorch's builds have local versions, such as 2.13.0+cpu. The install names the local version: without it pip would take
# PyPI's build, which is for CUDA, if the index lacks the wanted one.
RUN --mount=type=cache,target=/root/.cache/pip \
    sed -i "s/^torch==.*/&+${TORCH}/" /requirements.txt && \
    /venv/bin/pip install --disable-pip-version-check --extra-index-url "${TORCH_INDEX_URL}" -r /requirements.txt

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="miLLM" org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    HOME=/data \
    MILLM_HOME=/data \
    STATIC_ROOT=/srv/static \
    TMPDIR=/data
# Downloads are below the home folder and so on the volume. Bodies of large requests are there too: /tmp is small and in
# memory.
RUN useradd --uid 10001 --user-group --home-dir /data millm && install -d -o millm -g millm /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY . .
# Placeholders, to which nothing connects: without them this step would create files in /data as root, which the run's user
# could not write.
RUN DATABASE_URL=postgresql://build/build REDIS_URL=redis://build/0 SECRET_KEY=build MILLM_HOME=/tmp TMPDIR=/tmp \
    python manage.py collectstatic --noinput --verbosity 0
USER 10001:10001
EXPOSE 8000
# The health check of the web; a worker's is `python manage.py healthcheck worker`.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "manage.py", "healthcheck", "web"]
CMD ["python", "manage.py", "run", "web"]
