-- The outbox rows that `until` sees and `since` does not, oldest first, folded to one row an entity's record.
--
-- What a snapshot does not see is what was under way when it was taken (`returned`: those of them that have
-- ended since) and every id from its xmax on. Asking for just these two ranges keeps the read short while a
-- long transaction holds xmin back. ONE lower bound a range: with two, PostgreSQL may start at the lower.
WITH page AS MATERIALIZED (
    (
        SELECT c.xid, c.id, c.entity, c.res_id, c.keys, c.at
        FROM clinic_change AS c
        WHERE c.xid = ANY(%(returned)s::xid8[]) AND (c.xid, c.id) > (%(xid)s::xid8, %(id)s::bigint)
        ORDER BY c.xid, c.id
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT c.xid, c.id, c.entity, c.res_id, c.keys, c.at
        FROM clinic_change AS c
        WHERE
            (c.xid, c.id) > (%(new_xid)s::xid8, %(new_id)s::bigint)
            AND c.xid < pg_snapshot_xmax(%(until)s::pg_snapshot)
            AND pg_visible_in_snapshot(c.xid, %(until)s::pg_snapshot)
        ORDER BY c.xid, c.id
        LIMIT %(limit)s
    )
    ORDER BY 1, 2
    LIMIT %(limit)s
)
SELECT
    p.entity,
    p.res_id,
    p.keys,
    to_char(max(p.at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"') AS changed_at,
    (SELECT count(*) FROM page) AS rows_read,
    -- as text, but in the order of the number: `ORDER BY 1` would order the text
    (SELECT z.xid::text FROM page AS z ORDER BY z.xid DESC, z.id DESC LIMIT 1) AS last_xid,
    (SELECT z.id FROM page AS z ORDER BY z.xid DESC, z.id DESC LIMIT 1) AS last_id
FROM page AS p
GROUP BY p.entity, p.res_id, p.keys
