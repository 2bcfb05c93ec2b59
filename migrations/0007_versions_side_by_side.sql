-- Versions side by side: what one of them cannot read, what a new one must fill first, and whether the
-- database is still the one that the epoch began in.

-- A projection that a version brings is not read from before it has caught up. Earlier versions know
-- of no such thing: theirs are filled.
ALTER TABLE projection_checkpoints ADD COLUMN filled boolean NOT NULL DEFAULT true;

-- Events that were left out of the projections by a version that cannot read them. A version that can
-- makes the projections anew.
CREATE TABLE skipped_events (
    event_type     text   PRIMARY KEY,
    first_event_id bigint NOT NULL,
    last_event_id  bigint NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON skipped_events TO sextant_app;

-- Which database the present epoch began in.
CREATE TABLE stream_origin (
    singleton         boolean PRIMARY KEY DEFAULT true CONSTRAINT stream_origin_singleton CHECK (singleton),
    system_identifier bigint  NOT NULL,
    timeline          bigint  NOT NULL,
    database_oid      oid     NOT NULL
);

-- What distinguishes this database from every copy of it: the cluster, its timeline, which is another
-- one after every promotion and every restore to a point in time, and the database within it, which
-- is another one after a copy inside the cluster. A role that may not see the control file knows the
-- other two.
CREATE FUNCTION database_identity(OUT system_identifier bigint, OUT timeline bigint, OUT database_oid oid)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    BEGIN
        SELECT c.system_identifier INTO database_identity.system_identifier FROM pg_control_system() c;
    EXCEPTION
        WHEN insufficient_privilege THEN database_identity.system_identifier := 0;
    END;
    -- From the log that is being written: the control file learns of a promotion only later.
    timeline := ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint;
    SELECT d.oid INTO database_identity.database_oid FROM pg_database d WHERE d.datname = current_database();
END
$$;
REVOKE ALL ON FUNCTION database_identity FROM PUBLIC;

INSERT INTO stream_origin (system_identifier, timeline, database_oid)
SELECT i.system_identifier, i.timeline, i.database_oid FROM database_identity() i;

-- The present epoch. Where the database is another one than the epoch began in, a new epoch begins:
-- followers may hold events that this database never had. `replaced` then says what has changed, to
-- the one caller that began it.
CREATE FUNCTION current_epoch(OUT epoch uuid, OUT replaced text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    here  record;
    known record;
BEGIN
    SELECT * INTO here FROM public.database_identity();
    -- Both in one look: another replica may begin an epoch in between.
    SELECT s.epoch, o.system_identifier, o.timeline, o.database_oid INTO known
    FROM public.stream_epoch s, public.stream_origin o;
    IF known.system_identifier = here.system_identifier AND known.timeline = here.timeline
        AND known.database_oid = here.database_oid
    THEN
        epoch := known.epoch;
        RETURN;
    END IF;
    -- One replica begins it; the others wait here and find it done.
    PERFORM 1 FROM public.stream_origin FOR UPDATE;
    SELECT s.epoch, o.system_identifier, o.timeline, o.database_oid INTO known
    FROM public.stream_epoch s, public.stream_origin o;
    IF known.system_identifier = here.system_identifier AND known.timeline = here.timeline
        AND known.database_oid = here.database_oid
    THEN
        epoch := known.epoch;
        RETURN;
    END IF;
    replaced := concat_ws(', ',
        CASE WHEN known.system_identifier <> here.system_identifier
             THEN format('the cluster is %s instead of %s', here.system_identifier, known.system_identifier) END,
        CASE WHEN known.timeline <> here.timeline
             THEN format('the timeline is %s instead of %s', here.timeline, known.timeline) END,
        CASE WHEN known.database_oid <> here.database_oid
             THEN format('the database has the oid %s instead of %s', here.database_oid, known.database_oid) END);
    epoch := public.start_epoch();
END
$$;
REVOKE ALL ON FUNCTION current_epoch FROM PUBLIC;
GRANT EXECUTE ON FUNCTION current_epoch TO sextant_app;

-- As before, and remembers where the epoch began.
CREATE OR REPLACE FUNCTION start_epoch() RETURNS uuid
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    fresh uuid := gen_random_uuid();
BEGIN
    PERFORM setval('public.events_event_id_seq',
                   (SELECT last_value + 1000000 FROM public.events_event_id_seq));
    UPDATE public.stream_epoch SET epoch = fresh, started_at = now();
    UPDATE public.stream_origin o
    SET system_identifier = i.system_identifier, timeline = i.timeline, database_oid = i.database_oid
    FROM public.database_identity() i;
    RETURN fresh;
END
$$;
