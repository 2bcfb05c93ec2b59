-- What lists and views read. Everything here can be dropped and made again from the log.

CREATE TABLE networks (
    network_id    uuid        PRIMARY KEY,
    name          text        NOT NULL,
    ip_stack_mode text        NOT NULL,
    topology      text        NOT NULL,
    ipv6_prefix   cidr,
    ipv4_prefix   cidr,
    version       integer     NOT NULL,
    created_at    timestamptz NOT NULL,
    CONSTRAINT networks_prefix_present CHECK (num_nonnulls(ipv6_prefix, ipv4_prefix) >= 1)
);

CREATE TABLE nodes (
    node_id               uuid        PRIMARY KEY,
    network_id            uuid        NOT NULL,
    name                  text        NOT NULL,
    roles                 text[]      NOT NULL,
    phase                 text        NOT NULL,
    public_key            text        NOT NULL,
    endpoint              text        NOT NULL,
    ipv6_address          inet,
    ipv4_address          inet,
    prefix                cidr        NOT NULL,
    certificate_not_after timestamptz,
    version               integer     NOT NULL,
    enrolled_at           timestamptz NOT NULL,
    enrolled_event_id     bigint      NOT NULL,
    withdrawn_event_id    bigint,
    CONSTRAINT nodes_address_present CHECK (num_nonnulls(ipv6_address, ipv4_address) >= 1)
);
CREATE INDEX nodes_network ON nodes (network_id, phase);

CREATE TABLE enrolment_tokens (
    token_id   uuid        PRIMARY KEY,
    network_id uuid        NOT NULL,
    node_name  text        NOT NULL,
    roles      text[]      NOT NULL,
    phase      text        NOT NULL,
    node_id    uuid,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE api_tokens (
    token_id    uuid        PRIMARY KEY,
    name        text        NOT NULL,
    role        text        NOT NULL,
    secret_hash text        NOT NULL,
    expires_at  timestamptz,
    revoked     boolean     NOT NULL,
    created_at  timestamptz NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON networks, nodes, enrolment_tokens, api_tokens TO sextant_app;
