# One image for gateway and worker: `circumplex gateway` (the default) or `circumplex worker`.
# No torch: the networks run in Triton.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY pyproject.toml requirements/constraints.txt deploy/provision/packages.py ./
# The dependencies alone, so that a change of code does not install them again.
RUN python3 -m venv /opt/circumplex/venv \
    && python3 -c "import pathlib, tomllib; print(*tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']['dependencies'], sep='\n')" > dependencies.txt \
    && echo 'setuptools==84.2.1' >> dependencies.txt \
    && python3 packages.py /opt/circumplex/venv/bin/python constraints.txt dependencies.txt
COPY README.md LICENSE ./
COPY service ./service
COPY proto ./proto
RUN /opt/circumplex/venv/bin/pip install --no-deps --no-build-isolation .

FROM ${PYTHON_IMAGE} AS faces
WORKDIR /src
COPY deploy/__init__.py ./deploy/
COPY deploy/provision ./deploy/provision
RUN python3 -m deploy.provision.face_models /opt/circumplex/faces

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Circumplex" \
      org.opencontainers.image.description="Valence and arousal for every frame of a clip" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 circumplex \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin circumplex \
    && install --directory --owner=10001 --group=10001 /data /data/store
COPY --from=packages /opt/circumplex/venv /opt/circumplex/venv
COPY --from=faces /opt/circumplex/faces /opt/circumplex/faces
ENV PATH=/opt/circumplex/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GRPC_VERBOSITY=ERROR \
    CIRCUMPLEX_HOST=0.0.0.0 \
    CIRCUMPLEX_STORE_DIR=/data/store \
    CIRCUMPLEX_FACE_MODELS_DIR=/opt/circumplex/faces \
    CIRCUMPLEX_MODEL_REPOSITORY=/models \
    CIRCUMPLEX_RUNTIME_DIR=/tmp \
    CIRCUMPLEX_LOG_FORMAT=json
WORKDIR /tmp
USER 10001:10001
EXPOSE 8080 50051 9091
STOPSIGNAL SIGTERM
# Of the gateway; a worker is probed at its own /metrics, see docker-compose.yml.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ.get('CIRCUMPLEX_HTTP_PORT', '8080') + '/health/live', timeout=4)"]
ENTRYPOINT ["circumplex"]
CMD ["gateway"]
