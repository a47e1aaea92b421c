-- migrate:up
-- Outside of its hours a bot's handover says when people are back; what a visitor sees of the bot.
set local role neurant_router;

create or replace function private.follow_hitl_session() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.conversations c
  set fence = c.fence + 1,
    is_hitl_active = new.ended_at is null,
    assigned_operator_id = case when new.ended_at is null then new.operator_id end,
    hitl_activated_at = case when new.ended_at is null then new.opened_at end,
    hitl_reason = case when new.ended_at is null then new.reason end
  where c.company_id = new.company_id and c.id = new.conversation_id;
  insert into public.messages
    (company_id, conversation_id, chatbot_id, channel_account_id, sender_type, sender_id, content)
  select new.company_id, new.conversation_id, new.chatbot_id, c.channel_account_id, 'system',
    coalesce(new.ended_by, new.operator_id),
    case new.status
      when 'pending' then private.queued_line(new.company_id, new.chatbot_id)
      when 'active' then 'hitl_taken'
      else 'hitl_resolved' end
  from public.conversations c
  where c.company_id = new.company_id and c.id = new.conversation_id;
  return null;
end $$;

reset role;
set local role neurant_owner;

create function private.queued_line(
  p_company uuid, p_chatbot uuid, p_now timestamptz default now())
returns text
language sql stable security definer set search_path = '' as $$
  select coalesce((
    -- The clock of the place: what is said later in another zone still says this hour.
    select 'hitl_closed:' || to_char(private.opens_at(b.working_hours, b.timezone, p_now)
      at time zone b.timezone, 'YYYY-MM-DD"T"HH24:MI')
    from public.chatbots b
    where b.company_id = p_company and b.id = p_chatbot and b.working_hours <> '{}'),
    'hitl_queued')
$$;
comment on function private.queued_line(uuid, uuid, timestamptz) is
  'The system line of a handover that waits: hitl_queued, or hitl_closed:<when people are back, by the bot''s clock>. Definer: the visitor or channel that asked for a person reads no bot.';
alter function private.queued_line(uuid, uuid, timestamptz) owner to neurant_router;

drop function private.web_chat(text);
create function private.web_chat(p_routing_id text)
returns table (company_name text, chatbot_name text, description text, language text,
  persona text, tone text, avatar_url text, has_people boolean)
language sql stable security definer set search_path = '' as $$
  select c.name, b.name, b.description, b.personality_traits ->> 'language',
    b.personality_traits ->> 'persona', b.personality_traits ->> 'tone', b.avatar_url,
    b.hitl_enabled and c.max_hitl_concurrent <> 0
  from public.channel_accounts a
  join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
  join public.chatbots b on b.company_id = a.company_id and b.id = a.chatbot_id
  where a.routing_id = p_routing_id and a.channel = 'web' and a.status = 'connected'
    and b.retired_at is null
$$;
comment on function private.web_chat(text) is
  'What a web chat''s page may show to anybody: the company''s and the bot''s name, persona, tone and picture, and whether a person can be asked for. Definer: nobody has logged in yet.';
grant execute on function private.web_chat(text) to neurant_app;
alter function private.web_chat(text) owner to neurant_router;

reset role;
-- migrate:down
