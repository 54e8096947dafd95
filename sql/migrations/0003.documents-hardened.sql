-- Which attempt claimed a mail, and where an id was reserved: what a retry has to know of the try before.

ALTER TABLE document_mails ADD COLUMN attempt integer NOT NULL DEFAULT 1;

COMMENT ON COLUMN document_mails.attempt IS
'Of the attempt that claimed it. A later one whose message carries the mail takes the claim over: it was surely not sent.';

ALTER TABLE documents ADD COLUMN reserved_in text;

COMMENT ON COLUMN documents.reserved_in IS
'The account and folder that reserved_id was given for: in another store it means nothing.';
