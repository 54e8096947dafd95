DROP TABLE restore_drills;
DROP TABLE restores;
DROP TABLE backups;
