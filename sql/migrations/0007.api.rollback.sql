DROP TABLE api_idempotency_keys;
DROP INDEX shared_medications_sort_idx;
