# Mage with this project: docker build -t mage-workflows . (docs/deploy.md)
# Any base with glibc, apt-get and Python 3.11 or 3.12 with venv will do.
ARG BASE_IMAGE=python:3.11-slim-bookworm
# hadolint ignore=DL3006
FROM ${BASE_IMAGE}

# tini reaps processes whose parents are gone, as after the death of a worker; the bundled language model needs libgomp1.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home mage \
    && install --directory --owner mage --group mage /app /spark /state
USER 1000:1000
WORKDIR /app

# The environment changes less often than the code, so it is a layer of its own.
COPY --chown=mage:mage stack/setup.sh stack/
COPY --chown=mage:mage requirements requirements
# Modules are compiled once, here, not at each start.
RUN UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1 stack/setup.sh .venv requirements/local.lock
COPY --chown=mage:mage . .

# Beyond loopback, since the container's own loopback cannot be reached from outside it.
ENV LISTEN_ADDRESS=0.0.0.0 PORT=6789 STATE_DIR=/state PATH=/app/.venv/bin:$PATH
VOLUME /state
EXPOSE 6789
HEALTHCHECK --start-period=3m --interval=30s --timeout=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:6789/api/runs/health/live', timeout=8)"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "stack", "up"]
