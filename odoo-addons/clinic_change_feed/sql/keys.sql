-- Which of these API keys still open the feed: the row is there and not expired, its user is active and in the
-- readers' group, by itself or by a group that implies it (as Odoo resolves res.users.all_group_ids).
WITH RECURSIVE granting AS (
    SELECT %(group_id)s AS id
    UNION
    SELECT i.gid FROM res_groups_implied_rel AS i INNER JOIN granting AS g ON g.id = i.hid
)

SELECT k.id
FROM res_users_apikeys AS k
INNER JOIN res_users AS u ON u.id = k.user_id
WHERE
    k.id = ANY(%(key_ids)s)
    AND u.active
    AND (k.expiration_date IS NULL OR k.expiration_date >= now() AT TIME ZONE 'utc')
    AND EXISTS (
        SELECT 1
        FROM res_groups_users_rel AS r
        INNER JOIN granting AS g ON g.id = r.gid
        WHERE r.uid = k.user_id
    )
