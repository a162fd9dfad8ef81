# syntax=docker/dockerfile:1
# One image for every process: `docker run … gnomon scheduler`, `… executor`, `… api`, `… migrate`.
#
# What it installs is locked by hashes (requirements/runtime.txt and build.txt). The base image is named by its tag;
# to lock that too, give its digest: --build-arg PYTHON_IMAGE=python@sha256:…
# Task types of your own: FROM gnomon, then COPY them to /app, the working directory, and start `executor --tasks NAME`.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PYTHONDONTWRITEBYTECODE=1 UV_NO_CACHE=1
WORKDIR /src
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python -m venv /build && /build/bin/pip install --require-hashes -r requirements/build.txt
# Wheels only: no third-party code runs while the image is built, and nothing needs a compiler.
RUN python -m venv --without-pip /opt/gnomon \
    && /build/bin/uv pip install --python /opt/gnomon/bin/python --require-hashes --only-binary :all: \
       -r requirements/runtime.txt
COPY pyproject.toml ./
COPY schemas schemas
COPY sdk sdk
COPY core core
COPY services services
COPY cli cli
RUN for part in schemas sdk core services/scheduler services/executor services/api cli .; do \
        /build/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /wheels ./$part || exit 1; \
    done
RUN /build/bin/uv pip install --python /opt/gnomon/bin/python --offline --no-deps /wheels/*.whl \
    && /opt/gnomon/bin/python -m compileall -q -j 0 /opt/gnomon

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gnomon" \
      org.opencontainers.image.description="A durable task scheduler on NATS JetStream" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Nothing is installed into a running container.
RUN python -m pip uninstall --yes --quiet pip
COPY --from=build /opt/gnomon /opt/gnomon
# Every process listens on 8080: the api for HTTP, the others for /livez, /readyz and /metrics.
ENV PATH=/opt/gnomon/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    GNOMON_LOG_FORMAT=json \
    GNOMON_HEALTH_HOST=0.0.0.0 \
    GNOMON_HEALTH_PORT=8080 \
    GNOMON_HTTP_HOST=0.0.0.0 \
    GNOMON_HTTP_PORT=8080
WORKDIR /app
# A number, so that Kubernetes sees that it is not root. Nothing is written: a read-only root filesystem will do.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8080, timeout=4); c.request('GET', '/livez'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["gnomon"]
CMD ["--help"]
