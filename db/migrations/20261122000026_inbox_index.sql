-- migrate:up transaction:false
-- The inbox, newest first, by an index that most messages do not change.
create index concurrently conversations_inbox_slot_idx
  on public.conversations (company_id, last_message_slot desc);
-- migrate:down
