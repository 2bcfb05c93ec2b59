-- Prefixes and addresses, and names: claims that must be unique across aggregates. They are
-- written in the transaction that appends the events, so a conflict undoes both.

CREATE EXTENSION IF NOT EXISTS btree_gist;

-- A network's prefix. No two share an address.
CREATE TABLE ipam_pools (
    pool_id uuid PRIMARY KEY,
    prefix  cidr NOT NULL,
    CONSTRAINT ipam_pools_no_overlap EXCLUDE USING gist (prefix inet_ops WITH &&)
);

-- Gaps of a pool, in power-of-two blocks. The largest, lowest gap is cut next (bisection).
CREATE TABLE ipam_gaps (
    pool_id uuid NOT NULL CONSTRAINT ipam_gaps_pool REFERENCES ipam_pools ON DELETE CASCADE,
    gap     cidr NOT NULL,
    CONSTRAINT ipam_gaps_pkey PRIMARY KEY (pool_id, gap)
);
CREATE INDEX ipam_gaps_largest_first ON ipam_gaps (pool_id, masklen(gap), gap);

-- Blocks in use or in quarantine (released_at). No two share an address, whatever the code does.
CREATE TABLE ipam_blocks (
    block       cidr PRIMARY KEY,
    -- No cascade: a pool with a block in use cannot be deleted, whatever the code believes.
    pool_id     uuid NOT NULL CONSTRAINT ipam_blocks_pool REFERENCES ipam_pools,
    owner_id    uuid NOT NULL,
    released_at timestamptz,
    CONSTRAINT ipam_blocks_no_overlap EXCLUDE USING gist (block inet_ops WITH &&)
);
CREATE UNIQUE INDEX ipam_blocks_owner ON ipam_blocks (pool_id, owner_id) WHERE released_at IS NULL;
CREATE INDEX ipam_blocks_resting ON ipam_blocks (released_at) WHERE released_at IS NOT NULL;

-- Host numbers of a block that were never given out or came back from quarantine: [next, last].
-- Each allocation takes the next number of one range that no other transaction holds; only the
-- tail, from which new ranges are carved, is shared, and only for a moment.
CREATE TABLE ipam_ranges (
    range_id bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    block    cidr    NOT NULL CONSTRAINT ipam_ranges_block REFERENCES ipam_blocks ON DELETE CASCADE,
    first    bigint  NOT NULL,
    next     bigint  NOT NULL,
    last     bigint  NOT NULL,
    is_tail  boolean NOT NULL
) WITH (fillfactor = 50);
-- next is in no index, so that taking a number is a heap-only update.
CREATE INDEX ipam_ranges_lowest_first ON ipam_ranges (block, is_tail, first);

-- Addresses in use or in quarantine.
CREATE TABLE ipam_addresses (
    address     inet PRIMARY KEY,
    -- No foreign key: sixteen allocators would share-lock one block row for every address.
    block       cidr NOT NULL,
    owner_id    uuid NOT NULL,
    released_at timestamptz,
    CONSTRAINT ipam_addresses_in_block CHECK (address << block)
);
CREATE UNIQUE INDEX ipam_addresses_owner ON ipam_addresses (block, owner_id) WHERE released_at IS NULL;
CREATE INDEX ipam_addresses_holder ON ipam_addresses (owner_id) WHERE released_at IS NULL;
CREATE INDEX ipam_addresses_resting ON ipam_addresses (released_at) WHERE released_at IS NOT NULL;

GRANT SELECT, INSERT, UPDATE, DELETE
    ON ipam_pools, ipam_gaps, ipam_blocks, ipam_ranges, ipam_addresses TO sextant_app;

-- Names: of networks in the platform (scope nil), of nodes in their network (scope network).
CREATE TABLE name_claims (
    scope    uuid NOT NULL,
    kind     text NOT NULL,
    name     text NOT NULL,
    owner_id uuid NOT NULL,
    CONSTRAINT name_claims_unique PRIMARY KEY (scope, kind, name)
);
CREATE INDEX name_claims_owner ON name_claims (owner_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON name_claims TO sextant_app;

-- WireGuard keys: no two nodes ever have the same one, and a key that has left stays taken.
CREATE TABLE key_claims (
    public_key text PRIMARY KEY,
    owner_id   uuid NOT NULL
);
GRANT SELECT, INSERT ON key_claims TO sextant_app;
