-- What a request costs follows from what is there, not from what has been: folds of aggregates are
-- kept, several things change in one statement, what is used up goes away, and an org has a share.

-- Folds of aggregates with a long history, made from the log and thrown away at will. A program
-- reads only the format it writes, so two versions keep theirs side by side.
CREATE TABLE aggregate_checkpoints (
    aggregate_type text        NOT NULL,
    aggregate_id   uuid        NOT NULL,
    format         integer     NOT NULL,
    version        integer     NOT NULL,
    state          jsonb       NOT NULL,
    first_event_id bigint      NOT NULL,
    created_at     timestamptz NOT NULL,
    CONSTRAINT aggregate_checkpoints_pkey PRIMARY KEY (aggregate_type, aggregate_id, format)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON aggregate_checkpoints TO sextant_app;

-- Appends one event to each of several aggregates of one type after the versions that were read,
-- and returns their ids in the order given. Conflicts are those of append_events.
CREATE FUNCTION append_next_events(
    aggregate_type text,
    aggregate_ids  uuid[],
    expected_seqs  integer[],
    actor_id       uuid,
    event_types    text[],
    payloads       jsonb[]
) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    ids     bigint[];
    unknown text;
BEGIN
    SELECT given.event_type INTO unknown
    FROM unnest(append_next_events.event_types) AS given (event_type)
    WHERE NOT EXISTS (
        SELECT FROM public.event_types e, public.aggregate_types a
        WHERE e.event_type = given.event_type
          AND a.aggregate_type = append_next_events.aggregate_type
    ) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'no event "%" of a "%" is known', unknown, append_next_events.aggregate_type
            USING ERRCODE = 'SX003';
    END IF;
    PERFORM pg_advisory_xact_lock_shared(5657, 1);
    IF EXISTS (
        SELECT FROM unnest(aggregate_ids, expected_seqs) AS given (id, seq)
        WHERE NOT EXISTS (
            SELECT FROM public.events e
            WHERE e.aggregate_type = append_next_events.aggregate_type
              AND e.aggregate_id = given.id AND e.aggregate_seq = given.seq)
    ) THEN
        RAISE EXCEPTION 'an aggregate does not have the version that was read'
            USING ERRCODE = 'SX002';
    END IF;
    WITH appended AS (
        INSERT INTO public.events
            (aggregate_type, aggregate_id, aggregate_seq, event_type, actor_id, payload)
        SELECT append_next_events.aggregate_type, e.aggregate_id, e.seq + 1, e.event_type,
               append_next_events.actor_id, e.payload
        FROM unnest(aggregate_ids, expected_seqs, append_next_events.event_types, payloads)
             WITH ORDINALITY AS e (aggregate_id, seq, event_type, payload, position)
        ORDER BY e.position
        RETURNING event_id
    )
    SELECT array_agg(event_id ORDER BY event_id) INTO ids FROM appended;
    RETURN ids;
END
$$;
REVOKE ALL ON FUNCTION append_next_events FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append_next_events TO sextant_app;

-- Ranges without a number left: every allocation stepped over them.
DELETE FROM ipam_ranges WHERE NOT is_tail AND next > last;

-- API tokens of an org that were not revoked: how many there are must be known exactly.
INSERT INTO name_claims (scope, kind, name, owner_id)
SELECT t.org_id, 'api-token', t.token_id::text, t.token_id FROM api_tokens t
WHERE t.org_id IS NOT NULL AND NOT t.revoked
ON CONFLICT DO NOTHING;

INSERT INTO event_types (event_type) VALUES ('org-quotas-set');
