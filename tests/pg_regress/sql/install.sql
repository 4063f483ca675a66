-- The extension installs and leaves nothing behind when it is dropped.
CREATE EXTENSION wallet;
SELECT extname FROM pg_extension WHERE extname = 'wallet';
DROP EXTENSION wallet;
SELECT nspname FROM pg_namespace WHERE nspname = 'wallet';
