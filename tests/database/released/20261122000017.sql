-- A row of each company in each table that came with this release. Like a migration, it never changes.
set local session_replication_role = replica;  -- rows as they would be; nobody is logged in here
do $$
declare
  k record;
begin
  for k in
    select c.id as company, o.id as owner, p.id as operator, b.id as bot, v.id as conversation,
      m.id as message, s.id as session
    from public.companies c
    join public.users o on o.company_id = c.id and o.role = 'owner'
    join public.users p on p.company_id = c.id and p.role = 'operador'
    join public.chatbots b on b.company_id = c.id
    join public.messages m on m.company_id = c.id and m.sender_type = 'bot'
    join public.conversations v on v.company_id = c.id and v.id = m.conversation_id
    join public.hitl_sessions s on s.company_id = c.id and s.conversation_id = v.id
    order by c.id
  loop
    insert into public.user_invitations (company_id, email, invited_by, token_digest)
    values (k.company, 'nuevo@' || k.company || '.example', k.owner, sha256(('i' || k.company)::bytea));
    insert into public.api_keys (company_id, name, prefix, key_digest, role, created_by)
    values (k.company, 'CRM', 'na_1', sha256(('k' || k.company)::bytea), 'supervisor', k.owner);
    insert into public.chatbot_supervisors (company_id, chatbot_id, supervisor_id, assigned_by)
    values (k.company, k.bot, k.owner, k.owner);
    insert into public.notifications (company_id, user_id, kind) values (k.company, k.owner, 'welcome');
    insert into public.system_metrics (metric_type, value, company_id) values ('queue', 1, k.company);
    insert into public.message_reactions
      (company_id, message_id, conversation_id, chatbot_id, reaction_type, reacted_by_end_user)
    values (k.company, k.message, k.conversation, k.bot, 'thumbs_up', true);
    insert into public.notes (company_id, conversation_id, chatbot_id, author_id, content)
    values (k.company, k.conversation, k.bot, k.operator, 'Llamar mañana.');
    insert into public.canned_responses (company_id, shortcut, content)
    values (k.company, 'hola', '¡Hola!');
    insert into public.hitl_transfers
      (company_id, session_id, conversation_id, chatbot_id, from_user_id, to_user_id, reason)
    values (k.company, k.session, k.conversation, k.bot, k.operator, k.owner, 'Pide descuento');
    insert into public.integrations (company_id, name, integration_type, config, created_by)
    values (k.company, 'CRM', 'api_webhook', '{"sealed": "AAAA"}', k.owner);
    insert into public.integration_logs (company_id, integration_id, request_type, endpoint)
    select i.company_id, i.id, 'GET', '/x' from public.integrations i where i.company_id = k.company;
    insert into public.webhook_endpoints (company_id, url, events, secret_encrypted, created_by)
    values (k.company, 'https://example.com', '{message}', 'x', k.owner);
    insert into public.webhook_deliveries (company_id, endpoint_id, event, payload)
    select e.company_id, e.id, 'message', '{}' from public.webhook_endpoints e where e.company_id = k.company;
    insert into public.message_changes
      (company_id, message_id, conversation_id, chatbot_id, message_created_at)
    values (k.company, k.message, k.conversation, k.bot, now());
  end loop;
end $$;
