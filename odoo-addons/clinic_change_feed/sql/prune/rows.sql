-- One batch of what every cursor from the floor on has seen.
DELETE FROM clinic_change
WHERE id IN (
    SELECT c.id
    FROM clinic_change AS c
    WHERE c.xid < (SELECT max(m.ended_below) FROM clinic_change_mark AS m WHERE m.pruned)
    ORDER BY c.xid
    LIMIT %(batch)s
)
