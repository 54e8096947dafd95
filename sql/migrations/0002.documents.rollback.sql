-- What is lost is the history: where documents lie is known in Odoo too, and a message that comes again finds its file
-- in the store.

DROP TABLE document_replays;
DROP TABLE document_mails;
DROP TABLE outbox;
DROP TABLE document_events;
DROP TABLE documents;
