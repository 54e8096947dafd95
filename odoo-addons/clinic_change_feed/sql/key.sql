-- Does this API key still open the feed? Its row is there and not expired, its user active, and the user in the
-- readers' group, directly or by a group that implies it (Odoo resolves the same in res.users.all_group_ids).
WITH RECURSIVE held AS (
    SELECT g.gid AS id FROM res_groups_users_rel AS g WHERE g.uid = %(uid)s
    UNION
    SELECT i.hid FROM res_groups_implied_rel AS i INNER JOIN held AS h ON h.id = i.gid
)

SELECT EXISTS (
    SELECT 1
    FROM res_users_apikeys AS k
    INNER JOIN res_users AS u ON u.id = k.user_id
    WHERE
        k.id = %(key_id)s
        AND k.user_id = %(uid)s
        AND u.active
        AND (k.expiration_date IS NULL OR k.expiration_date >= now() AT TIME ZONE 'utc')
        AND %(group_id)s IN (SELECT h.id FROM held AS h)
)
