-- Before the tables go: no trigger may be left that writes to them.
SELECT clinic_change_unwatch();
DROP FUNCTION IF EXISTS clinic_change_unwatch(text);
DROP FUNCTION IF EXISTS clinic_change_watch(regclass, text, text [], text [], text, text, text);
DROP FUNCTION IF EXISTS clinic_change_watch_name(text, text);
DROP FUNCTION IF EXISTS clinic_change_access() CASCADE;
DROP FUNCTION IF EXISTS clinic_change_utc(timestamp);
DROP TABLE IF EXISTS clinic_change_mark;
DROP TABLE IF EXISTS clinic_change;
DROP FUNCTION IF EXISTS clinic_change_xid();
DROP FUNCTION IF EXISTS clinic_change_ended_below();
