-- Hostnames, ports, routes and edges: first what must be unique across aggregates, then what lists
-- and views read, then what edges report.

-- Hostnames that are owned. Pending claims are not here: they keep nobody out.
CREATE TABLE hostname_claims (
    hostname       text    NOT NULL,
    environment_id uuid    NOT NULL,
    org_id         uuid    NOT NULL,
    -- What an exact name and the wildcard that covers it have in common.
    parent         text,
    -- A number, because the index has no <> for booleans.
    is_wildcard    integer NOT NULL CONSTRAINT hostname_claims_is_wildcard CHECK (is_wildcard IN (0, 1)),
    CONSTRAINT hostname_claims_pkey PRIMARY KEY (hostname),
    CONSTRAINT hostname_claims_holder UNIQUE (hostname, environment_id),
    -- A name and the wildcard that covers it belong to one org: nobody takes over a part of another
    -- tenant's names by being more, or less, specific. The rarest column first: an exact name is
    -- held against wildcards only, however many names its parent has.
    CONSTRAINT hostname_claims_one_org
        EXCLUDE USING gist (is_wildcard WITH <>, parent WITH =, org_id WITH <>),
    -- Below the platform's domain, where a claim needs no proof: the name directly below it that
    -- this one is, or lies below. All of a site belong to one org.
    site           text,
    CONSTRAINT hostname_claims_one_site
        EXCLUDE USING gist (site WITH =, org_id WITH <>) WHERE (site IS NOT NULL)
);
CREATE INDEX hostname_claims_environment ON hostname_claims (environment_id);

-- Where routes listen.
CREATE TABLE listener_claims (
    route_id       uuid    NOT NULL CONSTRAINT listener_claims_pkey PRIMARY KEY,
    environment_id uuid    NOT NULL,
    -- The id of a network stands for the addresses that all its edges share.
    address        text    NOT NULL,
    port           integer NOT NULL CONSTRAINT listener_claims_port CHECK (port BETWEEN 1 AND 65535),
    -- 0 raw, 1 by the ClientHello's server name, 2 by the first request's Host.
    kind           integer NOT NULL CONSTRAINT listener_claims_kind CHECK (kind BETWEEN 0 AND 2),
    hostname       text,
    CONSTRAINT listener_claims_name CHECK (kind = 0 OR hostname IS NOT NULL),
    -- A route's name is its environment's own, and stays so while the route is there. Deferrable,
    -- because names that move take their routes along.
    CONSTRAINT listener_claims_hostname FOREIGN KEY (hostname, environment_id)
        REFERENCES hostname_claims (hostname, environment_id) DEFERRABLE,
    -- One address and port is told apart in one way. The kind first: routes of one kind, nearly all
    -- there are, are not compared.
    CONSTRAINT listener_claims_one_kind
        EXCLUDE USING gist (kind WITH <>, port WITH =, address WITH =)
);
CREATE UNIQUE INDEX listener_claims_raw ON listener_claims (address, port) WHERE kind = 0;
CREATE UNIQUE INDEX listener_claims_named ON listener_claims (address, port, hostname) WHERE kind > 0;
CREATE INDEX listener_claims_hostname_of ON listener_claims (hostname) WHERE hostname IS NOT NULL;
CREATE INDEX listener_claims_environment ON listener_claims (environment_id, port);

GRANT SELECT, INSERT, UPDATE, DELETE ON hostname_claims, listener_claims TO sextant_app;

CREATE TABLE hostnames (
    environment_id uuid        NOT NULL,
    hostname       text        NOT NULL,
    org_id         uuid        NOT NULL,
    challenge      text,
    owned          boolean     NOT NULL,
    since          timestamptz NOT NULL,
    CONSTRAINT hostnames_pkey PRIMARY KEY (environment_id, hostname),
    CONSTRAINT hostnames_provable CHECK (owned OR challenge IS NOT NULL)
);
CREATE INDEX hostnames_pending ON hostnames (since) WHERE NOT owned;

CREATE TABLE port_grants (
    environment_id uuid        NOT NULL,
    port           integer     NOT NULL,
    org_id         uuid        NOT NULL,
    reason         text        NOT NULL,
    granted_by     uuid        NOT NULL,
    granted_at     timestamptz NOT NULL,
    CONSTRAINT port_grants_pkey PRIMARY KEY (environment_id, port)
);

-- Rows of deleted routes stay, marked: a snapshot says which routes are gone on purpose.
CREATE TABLE routes (
    route_id             uuid        PRIMARY KEY,
    org_id               uuid        NOT NULL,
    environment_id       uuid        NOT NULL,
    network_id           uuid        NOT NULL,
    hostname             text,
    listen_port          integer     NOT NULL,
    protocol_hint        text        NOT NULL,
    match_host           boolean     NOT NULL,
    backend_process_type text        NOT NULL,
    backend_port         integer     NOT NULL,
    proxy_protocol       boolean     NOT NULL,
    ipv4_required        boolean     NOT NULL,
    health_source        text        NOT NULL,
    endpoint             text        NOT NULL,
    version              integer     NOT NULL,
    created_at           timestamptz NOT NULL,
    deleted_event_id     bigint
);
CREATE INDEX routes_environment ON routes (environment_id, route_id) WHERE deleted_event_id IS NULL;
CREATE INDEX routes_org ON routes (org_id, route_id) WHERE deleted_event_id IS NULL;
CREATE INDEX routes_network ON routes (network_id, route_id) WHERE deleted_event_id IS NULL;
CREATE INDEX routes_hostname ON routes (hostname) WHERE deleted_event_id IS NULL;
CREATE INDEX routes_port ON routes (listen_port, network_id) WHERE deleted_event_id IS NULL;
CREATE INDEX routes_deleted ON routes (network_id, deleted_event_id) WHERE deleted_event_id IS NOT NULL;

-- The newest event of each network that its edges have to serve.
CREATE TABLE routing_heads (
    network_id uuid   PRIMARY KEY,
    event_id   bigint NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON hostnames, port_grants, routes, routing_heads TO sextant_app;

-- What edges last reported. Measurements, not facts: not in the log, not rebuilt from it.
CREATE TABLE edge_reports (
    node_id     uuid        PRIMARY KEY,
    epoch       uuid        NOT NULL,
    revision    bigint      NOT NULL,
    reported_at timestamptz NOT NULL,
    report      jsonb       NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON edge_reports TO sextant_app;
