# One image for the code location, the webserver and the daemon: they must know the same packages.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /venv
WORKDIR /build
COPY requirements.runtime.lock.txt ./
RUN /venv/bin/pip install --require-hashes -r requirements.runtime.lock.txt
COPY pyproject.toml README.md ./
COPY dataflow_assets dataflow_assets
# The build backend is used here and left behind: the image holds what runs, no more.
RUN python -m venv /tools \
    && /tools/bin/pip install "hatchling>=1.27" \
    && /tools/bin/python -m hatchling build -t wheel -d dist \
    && /venv/bin/pip install --no-deps dist/*.whl

FROM python:${PYTHON}-slim
RUN useradd --uid 10001 --create-home --home-dir /home/dataflow dataflow \
    && install -d -o dataflow -g dataflow /opt/dagster /opt/dagster/storage /data
COPY --from=build /venv /venv
COPY --chown=dataflow:dataflow deploy/dagster.yaml deploy/workspace.yaml /opt/dagster/
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DAGSTER_HOME=/opt/dagster \
    DATA_DIR=/data
WORKDIR /opt/dagster
USER dataflow
EXPOSE 3000 4000
CMD ["dagster", "code-server", "start", "-h", "0.0.0.0", "-p", "4000", "-m", "dataflow_assets.definitions"]
