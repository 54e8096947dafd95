-- What failed, what works again, and which files cannot be read, as Airflow's own database has it.

-- name: failed_tasks(since, until, most)
SELECT
    task.dag_id,
    task.run_id,
    task.task_id,
    task.map_index,
    task.try_number,
    task.end_date
FROM task_instance AS task
WHERE task.state = 'failed' AND task.end_date > :since AND task.end_date <= :until
ORDER BY task.end_date
LIMIT :most;

-- name: recovered_tasks(dag_ids)
-- When each task of these DAGs last did what it was to do.
SELECT
    task.dag_id,
    task.task_id,
    max(task.end_date) AS recovered_at
FROM task_instance AS task
WHERE task.state IN ('success', 'skipped') AND task.dag_id = any(:dag_ids)
GROUP BY task.dag_id, task.task_id;

-- name: known_dags(dag_ids)
-- Which of these Airflow still has a file of.
SELECT dag.dag_id FROM dag
WHERE NOT dag.is_stale AND dag.dag_id = any(:dag_ids);

-- name: import_errors()
SELECT
    failure.filename,
    failure.stacktrace
FROM import_error AS failure
ORDER BY failure.filename;
