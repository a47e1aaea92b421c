-- migrate:up
-- Which messages changed: the log from which search and statistics are brought up to date.
set local role neurant_owner;

create table public.message_changes (
  company_id uuid not null,
  id bigint generated always as identity (cache 50),
  message_id uuid not null,
  conversation_id uuid not null,
  chatbot_id uuid not null,
  message_created_at timestamptz not null,
  primary key (company_id, id)
);
comment on table public.message_changes is
  'Appended to by the transaction that changes a message, taken off by the worker: what is derived from messages lags behind by this, and by nothing else. No foreign keys: it outlives what it names.';

create function private.note_message_changes() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.message_changes
    (company_id, message_id, conversation_id, chatbot_id, message_created_at)
  select c.company_id, c.id, c.conversation_id, c.chatbot_id, c.created_at from changed c;
  return null;
end $$;
comment on function private.note_message_changes() is
  'Definer: whoever may write a message need not see the log.';

create function private.note_message_edit() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.message_changes
    (company_id, message_id, conversation_id, chatbot_id, message_created_at)
  values (old.company_id, old.id, old.conversation_id, old.chatbot_id, old.created_at),
    (new.company_id, new.id, new.conversation_id, new.chatbot_id, new.created_at);
  return null;
end $$;
comment on function private.note_message_edit() is
  'Where a message was, and where it is now. Definer, as note_message_changes.';

alter table public.message_changes enable row level security, force row level security;
create policy router_select on public.message_changes for select to neurant_router using (true);
create policy router_insert on public.message_changes for insert to neurant_router with check (true);
create policy router_delete on public.message_changes for delete to neurant_router using (true);
grant select, insert, delete on public.message_changes to neurant_router;

create trigger note_inserted_messages after insert on public.messages
  referencing new table as changed
  for each statement execute function private.note_message_changes();
create trigger note_deleted_messages after delete on public.messages
  referencing old table as changed
  for each statement execute function private.note_message_changes();
-- Delivery states change often and mean nothing to search and statistics.
create trigger note_edited_messages
  after update of content, sender_type, created_at, tokens_used, processing_time_ms on public.messages
  for each row when (old.content is distinct from new.content
    or old.sender_type is distinct from new.sender_type
    or old.created_at is distinct from new.created_at
    or old.tokens_used is distinct from new.tokens_used
    or old.processing_time_ms is distinct from new.processing_time_ms)
  execute function private.note_message_edit();

alter function private.note_message_changes() owner to neurant_router;
alter function private.note_message_edit() owner to neurant_router;

reset role;
-- migrate:down
