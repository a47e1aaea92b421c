-- migrate:up
-- Who asks somebody to take over sees what becomes of it, also of a bot that they do not serve.
set local role neurant_owner;

alter policy staff_select on public.hitl_transfers
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or to_user_id = (select private.user_id())
      or from_user_id = (select private.user_id())));
alter policy staff_select on public.hitl_transfers_archived
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or to_user_id = (select private.user_id())
      or from_user_id = (select private.user_id())));

reset role;
-- migrate:down
