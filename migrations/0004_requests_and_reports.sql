-- Answers to requests that carried an Idempotency-Key, written with the events they caused.
CREATE TABLE idempotency_keys (
    principal    uuid        NOT NULL,
    key          text        NOT NULL,
    request_hash text        NOT NULL,
    status       smallint    NOT NULL,
    etag         text,
    event_id     bigint      NOT NULL DEFAULT 0,
    body         jsonb       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO sextant_app;

-- What nodes last reported. Measurements, not facts: not in the log, not rebuilt from it.
CREATE TABLE node_reports (
    node_id       uuid        PRIMARY KEY,
    epoch         uuid        NOT NULL,
    revision      bigint      NOT NULL,
    reported_at   timestamptz NOT NULL,
    clock_skew_ms bigint      NOT NULL,
    report        jsonb       NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON node_reports TO sextant_app;

-- The platform has one CA for its life: a second one, made by mistake, is refused.
CREATE TABLE platform_ca (
    singleton   boolean PRIMARY KEY DEFAULT true CONSTRAINT platform_ca_singleton CHECK (singleton),
    fingerprint text    NOT NULL
);
GRANT SELECT, INSERT ON platform_ca TO sextant_app;
