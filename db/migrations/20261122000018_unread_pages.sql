-- migrate:up
-- Pages of a document in which there was nothing to read: told, not silently left out.
set local role neurant_owner;

alter table public.documents add column unread_pages integer[] not null default '{}';
comment on column public.documents.unread_pages is
  'Numbers of the pages without text, such as scanned images: the bot does not know them.';
grant update (unread_pages) on public.documents to neurant_worker;

reset role;
-- migrate:down
