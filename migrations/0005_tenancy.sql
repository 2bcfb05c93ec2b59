-- Orgs, apps, environments, releases and workloads: first what must hold across aggregates, written
-- with the events, then what lists and views read, made from the log.

-- The number of a release within its environment, and whether a later one has taken its place.
CREATE TABLE release_numbers (
    environment_id uuid    NOT NULL,
    number         integer NOT NULL,
    release_id     uuid    NOT NULL CONSTRAINT release_numbers_release UNIQUE,
    superseded     boolean NOT NULL DEFAULT false,
    CONSTRAINT release_numbers_pkey PRIMARY KEY (environment_id, number)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON release_numbers TO sextant_app;

-- Which network each environment lives in, until it is deleted: a network goes only without any.
CREATE TABLE environment_networks (
    environment_id uuid CONSTRAINT environment_networks_pkey PRIMARY KEY,
    network_id     uuid NOT NULL
);
CREATE INDEX environment_networks_network ON environment_networks (network_id);
GRANT SELECT, INSERT, DELETE ON environment_networks TO sextant_app;

-- Workloads that have not been withdrawn: how many a node carries, what an environment runs, and
-- whether all of a release is healthy must be known exactly, not as of a moment ago.
CREATE TABLE placements (
    workload_id    uuid    PRIMARY KEY,
    environment_id uuid    NOT NULL,
    release_id     uuid,
    release_number integer,
    process_type   text    NOT NULL,
    network_id     uuid    NOT NULL,
    node_id        uuid    NOT NULL,
    health         text    NOT NULL DEFAULT 'starting',
    CONSTRAINT placements_health CHECK (health IN ('starting', 'healthy', 'unhealthy')),
    CONSTRAINT placements_release CHECK (num_nonnulls(release_id, release_number) <> 1)
);
CREATE INDEX placements_environment ON placements (environment_id);
CREATE INDEX placements_node ON placements (node_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON placements TO sextant_app;

ALTER TABLE api_tokens ADD COLUMN org_id uuid;
CREATE INDEX api_tokens_org ON api_tokens (org_id, token_id) WHERE org_id IS NOT NULL;

-- Rows of what was deleted stay, marked, so that what is left of it keeps its name.
CREATE TABLE orgs (
    org_id     uuid        PRIMARY KEY,
    name       text        NOT NULL,
    deleted    boolean     NOT NULL DEFAULT false,
    version    integer     NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE apps (
    app_id     uuid        PRIMARY KEY,
    org_id     uuid        NOT NULL,
    name       text        NOT NULL,
    deleted    boolean     NOT NULL DEFAULT false,
    version    integer     NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX apps_org ON apps (org_id, app_id) WHERE NOT deleted;

CREATE TABLE environments (
    environment_id uuid        PRIMARY KEY,
    org_id         uuid        NOT NULL,
    app_id         uuid        NOT NULL,
    network_id     uuid        NOT NULL,
    name           text        NOT NULL,
    deleted        boolean     NOT NULL DEFAULT false,
    version        integer     NOT NULL,
    created_at     timestamptz NOT NULL
);
CREATE INDEX environments_org ON environments (org_id, environment_id) WHERE NOT deleted;
CREATE INDEX environments_app ON environments (app_id, environment_id) WHERE NOT deleted;
CREATE INDEX environments_network ON environments (network_id) WHERE NOT deleted;

-- How people name an environment: ORG/APP/ENVIRONMENT.
CREATE VIEW environment_paths AS
    SELECT e.environment_id, o.name || '/' || a.name || '/' || e.name AS path
    FROM environments e JOIN apps a USING (app_id) JOIN orgs o ON o.org_id = e.org_id;

CREATE TABLE releases (
    release_id     uuid        PRIMARY KEY,
    org_id         uuid        NOT NULL,
    environment_id uuid        NOT NULL,
    number         integer     NOT NULL,
    processes      jsonb       NOT NULL,
    phase          text        NOT NULL,
    superseded_by  uuid,
    version        integer     NOT NULL,
    created_at     timestamptz NOT NULL
);
CREATE INDEX releases_environment ON releases (environment_id, release_id);
CREATE INDEX releases_pending ON releases (release_id) WHERE phase = 'pending';

CREATE TABLE workloads (
    workload_id        uuid        PRIMARY KEY,
    org_id             uuid        NOT NULL,
    environment_id     uuid        NOT NULL,
    release_id         uuid,
    process_type       text        NOT NULL,
    network_id         uuid        NOT NULL,
    node_id            uuid        NOT NULL,
    address            inet        NOT NULL,
    phase              text        NOT NULL,
    version            integer     NOT NULL,
    placed_at          timestamptz NOT NULL,
    placed_event_id    bigint      NOT NULL,
    withdrawn_event_id bigint,
    released_event_id  bigint
);
CREATE INDEX workloads_environment ON workloads (environment_id, workload_id);
CREATE INDEX workloads_node ON workloads (node_id, workload_id) WHERE phase <> 'released';
CREATE INDEX workloads_org ON workloads (org_id, workload_id) WHERE phase <> 'released';
CREATE INDEX workloads_network ON workloads (network_id, workload_id) WHERE phase <> 'released';
CREATE INDEX workloads_release ON workloads (release_id) WHERE release_id IS NOT NULL;
CREATE INDEX workloads_withdrawn ON workloads (withdrawn_event_id) WHERE phase = 'withdrawn';
-- What snapshots name as gone.
CREATE INDEX workloads_gone_of_network ON workloads (network_id, withdrawn_event_id)
    WHERE withdrawn_event_id IS NOT NULL;
CREATE INDEX workloads_gone_of_node ON workloads (node_id, released_event_id)
    WHERE phase = 'released';

GRANT SELECT, INSERT, UPDATE, DELETE ON orgs, apps, environments, releases, workloads
    TO sextant_app;
GRANT SELECT ON environment_paths TO sextant_app;
