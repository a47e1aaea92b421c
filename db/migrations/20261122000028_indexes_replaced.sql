-- migrate:up
-- The indexes that every message changed are gone; their names stay.
set local role neurant_owner;

drop index public.conversations_inbox_idx;
drop index public.conversations_chatbot_idx;
alter index public.conversations_inbox_slot_idx rename to conversations_inbox_idx;
alter index public.conversations_of_chatbot_idx rename to conversations_chatbot_idx;

reset role;
-- migrate:down
