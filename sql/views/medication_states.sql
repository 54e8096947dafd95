-- What is the matter with each medication, as the tiles, lists and pages of the API say it.

CREATE VIEW medication_states AS
SELECT
    medication.id AS medication_id,
    held.expired_quantity,
    held.next_expiry_at,
    held.is_negative,
    held.expired_quantity > 0 AS is_expired,
    medication.stock_quantity = 0 AND NOT held.is_negative AS is_out,
    medication.id IN (SELECT alert.medication_id FROM low_stock_alerts AS alert) AS is_low
FROM shared_medications AS medication
INNER JOIN LATERAL (
    SELECT
        coalesce(bool_or(level.quantity < 0), FALSE) AS is_negative,
        coalesce(
            sum(level.quantity) FILTER (WHERE level.quantity > 0 AND lot.expires_at <= now()), 0
        ) AS expired_quantity,
        min(lot.expires_at) FILTER (WHERE level.quantity > 0 AND lot.expires_at > now()) AS next_expiry_at
    FROM shared_stock_levels AS level
    LEFT JOIN shared_lots AS lot ON level.lot_id = lot.id
    WHERE level.medication_id = medication.id
) AS held ON TRUE;

COMMENT ON VIEW medication_states IS
'What is the matter with each medication: negative, expired, out, low; when its stock expires next.';
COMMENT ON COLUMN medication_states.is_negative IS 'A location and lot has less than nothing: a miscount.';
COMMENT ON COLUMN medication_states.next_expiry_at IS 'Of what is in stock and not expired yet.';

GRANT SELECT ON medication_states TO clinica_sync, clinica_api, clinica_readonly;
