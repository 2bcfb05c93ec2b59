-- Which process of an agent sent the report that is kept, and which of its reports that was: one
-- that was overtaken on its way is not kept. Empty for agents that do not say so.
ALTER TABLE node_reports
    ADD COLUMN process uuid,
    ADD COLUMN number  bigint;

-- The control planes that run on this database. Not facts: not in the log, not rebuilt from it.
CREATE TABLE replicas (
    name           text        NOT NULL,
    process        uuid        NOT NULL,
    version        text        NOT NULL,
    seen_at        timestamptz NOT NULL,
    clock_ahead_ms bigint      NOT NULL,
    CONSTRAINT replicas_pkey PRIMARY KEY (name)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON replicas TO sextant_app;
