-- The event log: append only, one function appends, readers wait until ids are settled.

-- What the daemon may do; init grants it to the daemon's login role. Roles belong to the whole
-- cluster, so another database may have made it, or may be making it at this moment.
DO $$
BEGIN
    CREATE ROLE sextant_app NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

CREATE TABLE events (
    event_id       bigint      GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    occurred_at    timestamptz NOT NULL DEFAULT now(),
    aggregate_type text        NOT NULL,
    aggregate_id   uuid        NOT NULL,
    aggregate_seq  integer     NOT NULL CONSTRAINT events_aggregate_seq_positive CHECK (aggregate_seq > 0),
    event_type     text        NOT NULL,
    actor_id       uuid        NOT NULL,
    payload        jsonb       NOT NULL
);

-- One "next event" per aggregate, and the newest version found first: one index serves both.
CREATE UNIQUE INDEX events_aggregate_version
    ON events (aggregate_type, aggregate_id, aggregate_seq DESC);
CREATE INDEX events_type ON events (event_type, event_id);
-- Audit by time: ids and times grow together, so block ranges suffice.
CREATE INDEX events_occurred_at ON events USING brin (occurred_at);

-- Events are never changed: by privilege for the daemon, by trigger for everybody.
REVOKE ALL ON events FROM PUBLIC;
GRANT SELECT ON events TO sextant_app;

CREATE FUNCTION refuse_event_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are never updated or deleted'
        USING ERRCODE = 'SX001', HINT = 'append an event that says what is true now';
END
$$;

CREATE TRIGGER events_immutable BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_event_change();
CREATE TRIGGER events_not_truncated BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_event_change();

-- Appends the events of one command to one aggregate and returns the last event id.
--
-- expected_seq is the version the command has read; a different one is a conflict: SX002 if it is
-- too high, a violation of events_aggregate_version if the aggregate has moved on. The shared
-- advisory lock is taken BEFORE an id is drawn and held until commit, so that a reader can tell
-- which ids below the highest may still appear (see event_horizon).
--
-- This is the hot path: every name is qualified, because a search_path set for the call costs a
-- twentieth of it, and a lone event, nearly every command's, goes in without unnest.
CREATE FUNCTION append_events(
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
BEGIN
    -- Never null: an expression costs less than PERFORM.
    IF pg_catalog.pg_advisory_xact_lock_shared(5657, 1) IS NULL THEN
        RAISE EXCEPTION 'the writers'' lock was not taken';
    END IF;
    IF pg_catalog.cardinality(event_types) OPERATOR(pg_catalog.=) 0
        OR pg_catalog.cardinality(event_types) OPERATOR(pg_catalog.<>) pg_catalog.cardinality(payloads)
    THEN
        RAISE EXCEPTION 'append_events needs as many payloads as event types, at least one';
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
REVOKE ALL ON FUNCTION append_events FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append_events TO sextant_app;

-- Appends the first events of aggregates that did not exist, one each, for several commands at
-- once; returns their ids in the order given. The commands have nothing else to write, and their
-- ids are new, so none can be in conflict with another: they share one commit.
CREATE FUNCTION append_first_events(
    aggregate_types text[],
    aggregate_ids   uuid[],
    actor_ids       uuid[],
    event_types     text[],
    payloads        jsonb[]
) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    ids bigint[];
BEGIN
    PERFORM pg_advisory_xact_lock_shared(5657, 1);
    WITH appended AS (
        INSERT INTO public.events
            (aggregate_type, aggregate_id, aggregate_seq, event_type, actor_id, payload)
        SELECT e.aggregate_type, e.aggregate_id, 1, e.event_type, e.actor_id, e.payload
        FROM unnest(aggregate_types, aggregate_ids, actor_ids, event_types, payloads)
             WITH ORDINALITY AS e (aggregate_type, aggregate_id, actor_id, event_type, payload, position)
        ORDER BY e.position
        RETURNING event_id
    )
    SELECT array_agg(event_id ORDER BY event_id) INTO ids FROM appended;
    RETURN ids;
END
$$;
REVOKE ALL ON FUNCTION append_first_events FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append_first_events TO sextant_app;

-- The highest id drawn so far, and who may still commit an id up to it. Once none of these holds
-- the lock any more, every id up to the highest is settled: it is visible, or it will never be.
-- The order of the two reads is what makes it true.
CREATE FUNCTION event_horizon(OUT highest bigint, OUT writers text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END INTO highest
    FROM public.events_event_id_seq s;
    writers := public.event_writers();
END
$$;

-- The transactions that hold the writers' lock in this database now.
CREATE FUNCTION event_writers() RETURNS text[]
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(l.virtualtransaction), '{}')
    FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.classid = 5657 AND l.objid = 1 AND l.objsubid = 2
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
      AND l.granted
$$;
GRANT EXECUTE ON FUNCTION event_horizon, event_writers TO sextant_app;

-- One life of the log; promotion and restore start a new one (see docs/architecture.md).
CREATE TABLE stream_epoch (
    singleton  boolean     PRIMARY KEY DEFAULT true CONSTRAINT stream_epoch_singleton CHECK (singleton),
    epoch      uuid        NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO stream_epoch (epoch) VALUES (gen_random_uuid());
GRANT SELECT ON stream_epoch TO sextant_app;

-- Starts a new epoch and leaves room above every id that may have been sent before.
CREATE FUNCTION start_epoch() RETURNS uuid
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    fresh uuid := gen_random_uuid();
BEGIN
    PERFORM setval('public.events_event_id_seq',
                   (SELECT last_value + 1000000 FROM public.events_event_id_seq));
    UPDATE public.stream_epoch SET epoch = fresh, started_at = now();
    RETURN fresh;
END
$$;
REVOKE ALL ON FUNCTION start_epoch FROM PUBLIC;

-- How far each projection is; its rows and this row change in one transaction.
CREATE TABLE projection_checkpoints (
    projection            text   PRIMARY KEY,
    last_applied_event_id bigint NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON projection_checkpoints TO sextant_app;
