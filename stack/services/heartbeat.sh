# beats JOB : whether Airflow has seen a heartbeat of this job since the service's latest start. Airflow itself calls
# a job healthy for half a minute after its death. Sourced by the `check` of Airflow's services without a port.
# shellcheck shell=sh
beats() {
    [ -e started ] || return 1
    beat=$(curl --fail --silent --max-time 3 "http://127.0.0.1:$AIRFLOW_PORT/api/v2/monitor/health" |
        sed -n "s/.*\"latest_$1_heartbeat\":\"\([^\"+.]*\).*/\1/p")
    # Both are UTC in ISO 8601, so their order as text is their order in time.
    [ -n "$beat" ] && [ "$(printf '%s\n' "$(cat started)" "$beat" | sort | head -n 1)" = "$(cat started)" ]
}
