-- The newest mark that is old enough becomes the floor.
UPDATE clinic_change_mark
SET pruned = true
WHERE
    at = (SELECT max(m.at) FROM clinic_change_mark AS m WHERE m.at <= now() - make_interval(days => %(keep_days)s))
    AND NOT pruned
