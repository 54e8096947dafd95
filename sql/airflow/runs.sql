-- What is asked of Airflow's own database, which has no API for it.

-- name: oldest_unfinished_run(before)^
-- The oldest run that began before then and has not ended.
SELECT
    run.dag_id,
    run.run_id,
    coalesce(run.start_date, run.queued_at) AS began
FROM dag_run AS run
WHERE
    run.state IN ('queued', 'running')
    AND coalesce(run.start_date, run.queued_at) < :before
ORDER BY began
LIMIT 1;
