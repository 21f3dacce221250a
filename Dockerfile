# roost as a container: `docker build -t roost .`; by default a router in front of one server, told by the environment
# (docs/container.md). Runs as a user without rights; the state lies in /home/roost/.local/state/roost.
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/roost
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/roost/bin/pip install --no-cache-dir .

FROM python:3.12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends wget \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 roost \
 && install -d -o roost -g roost /home/roost/.local/state/roost
COPY --from=build /opt/roost /opt/roost
# A container's port is reached from outside it or not at all: whoever publishes it decides who may.
ENV PATH=/opt/roost/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ROOST_ALLOW_OPEN=1 \
    ROOST_HOST=0.0.0.0
USER roost
WORKDIR /home/roost
VOLUME /home/roost/.local/state/roost
EXPOSE 8010
ENTRYPOINT ["roost"]
CMD ["serve"]
