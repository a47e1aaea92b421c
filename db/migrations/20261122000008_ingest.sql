-- migrate:up
-- From a channel's webhook to a stored message and an owed reply, many at a time, in one commit.
set local role neurant_owner;

create function private.ingest(
  p_routing_id text[], p_channel text[], p_credential bytea[], p_end_user_id text[],
  p_end_user_name text[], p_external_id text[], p_message_type text[], p_content text[],
  p_media_url text[])
returns table (
  ord bigint, outcome text, company_id uuid, conversation_id uuid, message_id uuid, seq bigint)
language sql volatile security definer set search_path = '' as $$
  with event as materialized (
    select e.*
    from unnest(p_routing_id, p_channel, p_credential, p_end_user_id, p_end_user_name,
        p_external_id, p_message_type, p_content, p_media_url) with ordinality
      as e (routing_id, channel, credential, end_user_id, end_user_name, external_id,
        message_type, content, media_url, ord)
  ),
  routed as materialized (
    -- The company comes from the channel account, never from the event.
    select e.ord, a.company_id, a.id as channel_account_id, a.chatbot_id, a.channel,
      case a.channel when 'web' then v.id is not null else a.secret_digest = e.credential end
        as is_genuine,
      coalesce(v.id::text, e.end_user_id) as end_user_id, e.end_user_name,
      case a.channel when 'web' then v.id || ':' || e.external_id else e.external_id end
        as external_id,
      e.message_type::public.message_type_enum as message_type, e.content, e.media_url
    from event e
    join public.channel_accounts a
      on a.routing_id = e.routing_id and a.channel::text = e.channel and a.status = 'connected'
    join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
    left join public.visitor_sessions v
      on a.channel = 'web' and v.token_digest = e.credential and v.company_id = a.company_id
      and v.channel_account_id = a.id and v.expires_at > now()
  ),
  fresh as materialized (
    select distinct on (r.company_id, r.channel_account_id, r.external_id) r.*
    from routed r
    where r.is_genuine and not exists (
      select from public.messages m
      where m.company_id = r.company_id and m.channel_account_id = r.channel_account_id
        and m.external_message_id = r.external_id)
    order by r.company_id, r.channel_account_id, r.external_id, r.ord
  ),
  opened as (
    -- Sorted, so that two batches lock their conversations in the same order.
    insert into public.conversations as c
      (company_id, chatbot_id, channel_account_id, end_user_id, end_user_name, channel,
        last_seq, message_count)
    select f.company_id, f.chatbot_id, f.channel_account_id, f.end_user_id,
      max(f.end_user_name), f.channel, count(*), count(*)
    from fresh f
    group by f.company_id, f.chatbot_id, f.channel_account_id, f.end_user_id, f.channel
    order by f.company_id, f.channel_account_id, f.end_user_id
    on conflict (company_id, channel_account_id, end_user_id) where status = 'active'
    do update set
      last_seq = c.last_seq + excluded.last_seq,
      message_count = c.message_count + excluded.message_count,
      last_message_at = greatest(c.last_message_at, excluded.last_message_at),
      end_user_name = coalesce(excluded.end_user_name, c.end_user_name)
    returning c.company_id, c.id, c.chatbot_id, c.channel_account_id, c.end_user_id, c.last_seq
  ),
  stored as (
    insert into public.messages
      (company_id, conversation_id, chatbot_id, channel_account_id, seq, external_message_id,
        sender_type, message_type, content, media_url, status)
    select f.company_id, o.id, o.chatbot_id, f.channel_account_id,
      o.last_seq + 1 - row_number() over (partition by o.company_id, o.id order by f.ord desc),
      f.external_id, 'end_user', f.message_type, f.content, f.media_url, 'delivered'
    from fresh f
    join opened o on o.company_id = f.company_id
      and o.channel_account_id = f.channel_account_id and o.end_user_id = f.end_user_id
    returning company_id, channel_account_id, external_message_id, conversation_id, id, seq
  ),
  requested as (
    insert into public.reply_requests (company_id, conversation_id, wanted_seq, due_at)
    select o.company_id, o.id, o.last_seq, now() + b.response_delay_ms * interval '1 millisecond'
    from opened o
    join public.chatbots b on b.company_id = o.company_id and b.id = o.chatbot_id
    order by o.company_id, o.id
    on conflict on constraint reply_requests_pkey do update set wanted_seq = excluded.wanted_seq
  )
  select e.ord,
    case
      when r.ord is null then 'unknown'
      when not r.is_genuine then 'refused'
      when s.id is null then 'duplicate'
      when f.ord is null then 'duplicate'
      else 'stored' end,
    r.company_id,
    coalesce(s.conversation_id, known.conversation_id),
    coalesce(s.id, known.id),
    coalesce(s.seq, known.seq)
  from event e
  left join routed r on r.ord = e.ord
  left join fresh f on f.ord = e.ord
  left join stored s on s.company_id = r.company_id
    and s.channel_account_id = r.channel_account_id and s.external_message_id = r.external_id
  left join public.messages known on r.is_genuine and s.id is null
    and known.company_id = r.company_id and known.channel_account_id = r.channel_account_id
    and known.external_message_id = r.external_id
  order by e.ord
$$;
comment on function private.ingest(text[], text[], bytea[], text[], text[], text[], text[], text[], text[]) is
  'Stores events of any company: verifies each by its channel account, drops what is already there, opens or continues the conversation, and asks for one reply each. Outcome per event: stored, duplicate, refused or unknown. Definer: webhooks belong to no user, and one batch holds many companies.';

create function private.set_aside_event(
  p_routing_id text, p_credential bytea, p_external_id text, p_payload bytea, p_reason text)
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_account public.channel_accounts;
begin
  select a.* into v_account from public.channel_accounts a
  join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
  where a.routing_id = p_routing_id and a.status = 'connected';
  if v_account.id is null then
    return 'unknown';
  end if;
  if v_account.secret_digest is distinct from p_credential then
    return 'refused';
  end if;
  insert into public.inbound_events (company_id, channel_account_id, external_id, payload, reason)
  values (v_account.company_id, v_account.id, p_external_id, p_payload, p_reason)
  on conflict (company_id, channel_account_id, external_id) do nothing;
  return 'set_aside';
end $$;
comment on function private.set_aside_event(text, bytea, text, bytea, text) is
  'Keeps, raw, an event that did not become a message. Definer, as ingest.';

create function private.prove_webhook(p_routing_id text, p_credential bytea) returns text
language sql stable security definer set search_path = '' as $$
  select coalesce((
    select case when a.secret_digest = p_credential then 'genuine' else 'refused' end
    from public.channel_accounts a
    join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
    where a.routing_id = p_routing_id and a.status = 'connected'), 'unknown')
$$;
comment on function private.prove_webhook(text, bytea) is
  'Whether a caller whose body cannot be read is the channel at least: genuine, refused or unknown. Definer, as ingest.';

create function private.open_visitor_session(
  p_routing_id text, p_token_digest bytea, p_lifetime interval)
returns timestamptz
language sql volatile security definer set search_path = '' as $$
  insert into public.visitor_sessions (company_id, channel_account_id, token_digest, expires_at)
  select a.company_id, a.id, p_token_digest, now() + p_lifetime
  from public.channel_accounts a
  join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
  where a.routing_id = p_routing_id and a.channel = 'web' and a.status = 'connected'
  returning expires_at
$$;
comment on function private.open_visitor_session(text, bytea, interval) is
  'A new visitor of a web chat; null for an unknown or closed chat. Definer: the visitor is nobody yet.';

create function private.web_chat(p_routing_id text)
returns table (company_name text, chatbot_name text, description text, language text)
language sql stable security definer set search_path = '' as $$
  select c.name, b.name, b.description, b.personality_traits ->> 'language'
  from public.channel_accounts a
  join public.companies c on c.id = a.company_id and c.subscription_status <> 'cancelled'
  join public.chatbots b on b.company_id = a.company_id and b.id = a.chatbot_id
  where a.routing_id = p_routing_id and a.channel = 'web' and a.status = 'connected'
    and b.retired_at is null
$$;
comment on function private.web_chat(text) is
  'What anybody may see of a web chat: names. Definer: the visitor is nobody yet.';

create function private.visitor_company(p_routing_id text) returns uuid
language sql stable security definer set search_path = '' as $$
  select v.company_id
  from public.visitor_sessions v
  join public.channel_accounts a on a.company_id = v.company_id and a.id = v.channel_account_id
  where v.company_id = (select private.company_id())
    and v.id = (select private.visitor_session_id())
    and a.routing_id = p_routing_id and a.status = 'connected'
$$;
comment on function private.visitor_company(text) is
  'The verified visitor''s company, if the session belongs to this chat. Definer: a visitor may read neither table.';
grant execute on function private.visitor_company(text) to visitor;
alter function private.visitor_company(text) owner to neurant_router;

grant execute on function
  private.ingest(text[], text[], bytea[], text[], text[], text[], text[], text[], text[]),
  private.set_aside_event(text, bytea, text, bytea, text), private.prove_webhook(text, bytea),
  private.open_visitor_session(text, bytea, interval), private.web_chat(text) to neurant_app;

alter function private.ingest(text[], text[], bytea[], text[], text[], text[], text[], text[], text[])
  owner to neurant_router;
alter function private.set_aside_event(text, bytea, text, bytea, text) owner to neurant_router;
alter function private.prove_webhook(text, bytea) owner to neurant_router;
alter function private.open_visitor_session(text, bytea, interval) owner to neurant_router;
alter function private.web_chat(text) owner to neurant_router;

reset role;
-- migrate:down
