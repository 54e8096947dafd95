DROP TABLE alert_looks;
DROP TABLE alert_reports;
DROP TABLE alert_deliveries;
DROP TABLE alert_messages;
DROP TABLE alerts;
DROP TABLE outages;
