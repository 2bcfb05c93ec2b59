-- Who was refused: counts for operators, not facts. Not in the log, bounded by housekeeping.
CREATE TABLE refusals (
    bucket       bigint      NOT NULL, -- seconds since 1970: when the time that is counted began
    source       text        NOT NULL, -- an IPv4 address or a /64 of IPv6
    code         text        NOT NULL,
    subject      uuid        NOT NULL, -- the token or node; nil if it is none that exists
    count        bigint      NOT NULL,
    last_at      timestamptz NOT NULL,
    last_address text        NOT NULL,
    CONSTRAINT refusals_pkey PRIMARY KEY (bucket, source, code, subject)
);
CREATE INDEX refusals_last_at ON refusals (last_at);
CREATE INDEX refusals_subject ON refusals (subject);
GRANT SELECT, INSERT, UPDATE, DELETE ON refusals TO sextant_app;
