ALTER TABLE documents DROP COLUMN reserved_in;
ALTER TABLE document_mails DROP COLUMN attempt;
