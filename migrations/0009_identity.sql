-- Certificates that an operator withdrew. The log decides; this is for lists.
ALTER TABLE nodes ADD COLUMN certificates_revoked boolean NOT NULL DEFAULT false;

INSERT INTO event_types (event_type) VALUES
    ('node-certificates-revoked'), ('node-readmitted');

-- Which agents run as a node: measurements like node_reports, not in the log. One row for each process
-- that spoke as the node lately. Two that are alive are two machines with one identity.
CREATE TABLE node_instances (
    node_id     uuid        NOT NULL,
    instance_id uuid        NOT NULL,
    -- holder: the one that is served; rival: a newer one, served too until the holder proves that it is
    -- alive; refused: a newer one beside a living holder.
    role        text        NOT NULL,
    address     text        NOT NULL,
    since       timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT node_instances_pkey PRIMARY KEY (node_id, instance_id),
    CONSTRAINT node_instances_role CHECK (role IN ('holder', 'rival', 'refused'))
);
CREATE UNIQUE INDEX node_instances_one_holder ON node_instances (node_id) WHERE role = 'holder';
GRANT SELECT, INSERT, UPDATE, DELETE ON node_instances TO sextant_app;
