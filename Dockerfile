# syntax=docker/dockerfile:1
# One image for web, worker and the preparation of the database. For CPUs: `docker build -t millm:cpu .`
# For NVIDIA GPUs: `docker build --build-arg TORCH=cu130 -t millm:cuda .`

# The Python that the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS packages
# Which build of PyTorch: `cpu`, or the CUDA version that it is built for.
ARG TORCH=cpu
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/${TORCH}
RUN python -m venv /venv
COPY requirements.txt /
# A build for CPUs or for one CUDA version has a local version, such as 2.13.0+cpu. It is asked for by this name: where the
# index does not have it, pip would take PyPI's build, which is one for CUDA.
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
# Downloads are below the home folder, and so on the volume, as are the bodies of large requests: /tmp is a small one in
# memory.
RUN useradd --uid 10001 --user-group --home-dir /data millm && install -d -o millm -g millm /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY . .
# Nothing is asked at these addresses: they stand for those of the run, whose user could not write to what root made in /data.
RUN DATABASE_URL=postgresql://build/build REDIS_URL=redis://build/0 SECRET_KEY=build MILLM_HOME=/tmp TMPDIR=/tmp \
    python manage.py collectstatic --noinput --verbosity 0
USER 10001:10001
EXPOSE 8000
# The web's; a worker's is `python manage.py healthcheck worker`.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "manage.py", "healthcheck", "web"]
CMD ["python", "manage.py", "run", "web"]
