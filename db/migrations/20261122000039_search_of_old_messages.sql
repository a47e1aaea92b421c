-- migrate:up
-- Found from now on: what was said before the log was. By itself, so that no lock is held meanwhile.
insert into public.message_changes
  (company_id, message_id, conversation_id, chatbot_id, message_created_at)
select m.company_id, m.id, m.conversation_id, m.chatbot_id, m.created_at from public.messages m;
-- migrate:down
