-- migrate:up transaction:false
-- A bot's conversations, by an index that no message changes.
create index concurrently conversations_of_chatbot_idx
  on public.conversations (company_id, chatbot_id);
-- migrate:down
