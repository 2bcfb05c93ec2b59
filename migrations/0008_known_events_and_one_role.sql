-- The log takes only events that this schema knows, and every platform has a database role of its own.

-- Every type of event there is. A version that adds one adds its row in a migration: the schema is
-- migrated first, then the replicas are replaced, so a replica never appends what it may not.
CREATE TABLE event_types (
    event_type text CONSTRAINT event_types_pkey PRIMARY KEY
);
INSERT INTO event_types (event_type) VALUES
    ('api-token-created'), ('api-token-revoked'),
    ('app-created'), ('app-deleted'),
    ('enrolment-token-created'), ('enrolment-token-revoked'), ('enrolment-token-used'),
    ('environment-created'), ('environment-deleted'),
    ('hostname-acquired'), ('hostname-claimed'), ('hostname-released'), ('hostname-surrendered'),
    ('hostname-verified'),
    ('network-created'), ('network-deleted'), ('network-renamed'),
    ('node-certificate-issued'), ('node-endpoint-changed'), ('node-enrolled'), ('node-released'),
    ('node-withdrawn'),
    ('org-created'), ('org-deleted'),
    ('port-grant-revoked'), ('port-granted'), ('port-policy-set'),
    ('release-activated'), ('release-created'), ('release-superseded'),
    ('route-changed'), ('route-created'), ('route-deleted'), ('route-moved'),
    ('workload-health-changed'), ('workload-placed'), ('workload-released'), ('workload-withdrawn');

-- Every kind of thing that events are about; extended in the same way.
CREATE TABLE aggregate_types (
    aggregate_type text CONSTRAINT aggregate_types_pkey PRIMARY KEY
);
INSERT INTO aggregate_types (aggregate_type) VALUES
    ('api-token'), ('app'), ('enrolment-token'), ('environment'), ('network'), ('node'), ('org'),
    ('port-policy'), ('release'), ('route'), ('workload');

GRANT SELECT ON event_types, aggregate_types TO sextant_app;

-- As before, and SX003 if a type is not known. A foreign key would lock the same few rows in every
-- append; a look-up does not.
CREATE OR REPLACE FUNCTION append_events(
    aggregate_type text,
    aggregate_id   uuid,
    expected_seq   integer,
    actor_id       uuid,
    event_types    text[],
    payloads       jsonb[]
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    last_id bigint;
    unknown text;
BEGIN
    IF pg_catalog.cardinality(event_types) OPERATOR(pg_catalog.=) 0
        OR pg_catalog.cardinality(event_types) OPERATOR(pg_catalog.<>) pg_catalog.cardinality(payloads)
    THEN
        RAISE EXCEPTION 'append_events needs as many payloads as event types, at least one';
    END IF;
    IF pg_catalog.cardinality(event_types) OPERATOR(pg_catalog.=) 1 THEN
        IF NOT EXISTS (
            SELECT FROM public.event_types e, public.aggregate_types a
            WHERE e.event_type OPERATOR(pg_catalog.=) append_events.event_types[1]
              AND a.aggregate_type OPERATOR(pg_catalog.=) append_events.aggregate_type
        ) THEN
            unknown := coalesce(event_types[1], '');
        END IF;
    ELSE
        SELECT given.event_type INTO unknown
        FROM pg_catalog.unnest(event_types) AS given (event_type)
        WHERE NOT EXISTS (
            SELECT FROM public.event_types e, public.aggregate_types a
            WHERE e.event_type OPERATOR(pg_catalog.=) given.event_type
              AND a.aggregate_type OPERATOR(pg_catalog.=) append_events.aggregate_type
        ) LIMIT 1;
    END IF;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'no event "%" of a "%" is known', unknown, aggregate_type
            USING ERRCODE = 'SX003';
    END IF;
    -- Never null: an expression costs less than PERFORM.
    IF pg_catalog.pg_advisory_xact_lock_shared(5657, 1) IS NULL THEN
        RAISE EXCEPTION 'the writers'' lock was not taken';
    END IF;
    IF expected_seq OPERATOR(pg_catalog.>) 0 AND NOT EXISTS (
        SELECT FROM public.events e
        WHERE e.aggregate_type OPERATOR(pg_catalog.=) append_events.aggregate_type
          AND e.aggregate_id OPERATOR(pg_catalog.=) append_events.aggregate_id
          AND e.aggregate_seq OPERATOR(pg_catalog.=) expected_seq
    ) THEN
        RAISE EXCEPTION 'aggregate has no version %', expected_seq USING ERRCODE = 'SX002';
    END IF;
    IF pg_catalog.cardinality(event_types) OPERATOR(pg_catalog.=) 1 THEN
        INSERT INTO public.events AS e
            (aggregate_type, aggregate_id, aggregate_seq, event_type, actor_id, payload)
        VALUES (append_events.aggregate_type, append_events.aggregate_id,
                expected_seq OPERATOR(pg_catalog.+) 1, event_types[1], append_events.actor_id,
                payloads[1])
        RETURNING e.event_id INTO last_id;
        RETURN last_id;
    END IF;
    WITH appended AS (
        INSERT INTO public.events
            (aggregate_type, aggregate_id, aggregate_seq, event_type, actor_id, payload)
        SELECT append_events.aggregate_type, append_events.aggregate_id,
               expected_seq OPERATOR(pg_catalog.+) e.position::pg_catalog.int4, e.event_type,
               append_events.actor_id, e.payload
        FROM ROWS FROM (pg_catalog.unnest(event_types), pg_catalog.unnest(payloads))
             WITH ORDINALITY AS e (event_type, payload, position)
        ORDER BY e.position
        RETURNING event_id
    )
    SELECT pg_catalog.max(event_id) INTO last_id FROM appended;
    RETURN last_id;
END
$$;

CREATE OR REPLACE FUNCTION append_first_events(
    aggregate_types text[],
    aggregate_ids   uuid[],
    actor_ids       uuid[],
    event_types     text[],
    payloads        jsonb[]
) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    ids     bigint[];
    unknown record;
BEGIN
    SELECT given.event_type, given.aggregate_type INTO unknown
    FROM unnest(append_first_events.event_types, append_first_events.aggregate_types)
         AS given (event_type, aggregate_type)
    WHERE NOT EXISTS (
        SELECT FROM public.event_types e, public.aggregate_types a
        WHERE e.event_type = given.event_type AND a.aggregate_type = given.aggregate_type
    ) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'no event "%" of a "%" is known', unknown.event_type, unknown.aggregate_type
            USING ERRCODE = 'SX003';
    END IF;
    PERFORM pg_advisory_xact_lock_shared(5657, 1);
    WITH appended AS (
        INSERT INTO public.events
            (aggregate_type, aggregate_id, aggregate_seq, event_type, actor_id, payload)
        SELECT e.aggregate_type, e.aggregate_id, 1, e.event_type, e.actor_id, e.payload
        FROM unnest(append_first_events.aggregate_types, aggregate_ids, actor_ids,
                    append_first_events.event_types, payloads)
             WITH ORDINALITY AS e (aggregate_type, aggregate_id, actor_id, event_type, payload, position)
        ORDER BY e.position
        RETURNING event_id
    )
    SELECT array_agg(event_id ORDER BY event_id) INTO ids FROM appended;
    RETURN ids;
END
$$;

-- Roles belong to the whole cluster, so sextant_app is shared by every platform on it. Migrations
-- go on granting to it; `sextant-control init` then moves what it holds to this database's own role
-- and takes it away from sextant_app. This names that role, so that a copy or a renamed database
-- hands over from the right one.
CREATE TABLE platform_role (
    singleton boolean DEFAULT true CONSTRAINT platform_role_pkey PRIMARY KEY
                      CONSTRAINT platform_role_singleton CHECK (singleton),
    role_name text    NOT NULL
);

-- Nothing is for everybody, now and in what later migrations make.
REVOKE ALL ON FUNCTION event_horizon, event_writers, refuse_event_change FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO sextant_app;
