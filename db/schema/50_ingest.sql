-- Ingest: the events that channels deliver.

create table public.inbound_events (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  channel_account_id uuid not null,
  external_id varchar(255) not null,
  payload bytea not null,
  reason text not null,
  received_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, channel_account_id, external_id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id)
);
comment on table public.inbound_events is
  'Events of a channel that did not become a message (an edit, an unsupported kind, a row that the database refused), raw and with the reason, so that no acknowledged event is lost.';

alter table public.inbound_events enable row level security, force row level security;
create policy staff_select on public.inbound_events for select to authenticated
  using (company_id = (select private.company_id('channels.read'))
    and (select private.manages_company()));
create policy router_select on public.inbound_events for select to neurant_router using (true);
create policy router_insert on public.inbound_events for insert to neurant_router with check (true);
create policy router_delete on public.inbound_events for delete to neurant_router using (true);
grant select on public.inbound_events to authenticated;
grant select, insert, delete on public.inbound_events to neurant_router;

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
  looked_up as materialized (
    -- Of what is told twice in one batch, the first counts.
    select r.*, known.id as known_id, known.conversation_id as known_conversation_id,
      known.seq as known_seq,
      min(r.ord) over (partition by r.company_id, r.channel_account_id, r.external_id, r.is_genuine)
        as first_ord
    from routed r
    left join public.messages known on r.is_genuine and known.company_id = r.company_id
      and known.channel_account_id = r.channel_account_id
      and known.external_message_id = r.external_id
  ),
  fresh as materialized (
    select l.* from looked_up l where l.is_genuine and l.known_id is null and l.ord = l.first_ord
  ),
  this_moment as materialized (select clock_timestamp() as moment),
  opened as (
    -- Sorted, so that two batches lock their conversations in the same order.
    insert into public.conversations as c
      (company_id, chatbot_id, channel_account_id, end_user_id, end_user_name, channel,
        last_seq, message_count, last_message_at, last_message_slot)
    select f.company_id, f.chatbot_id, f.channel_account_id, f.end_user_id,
      max(f.end_user_name), f.channel, count(*), count(*), t.moment,
      date_bin('10 minutes', t.moment, 'epoch')
    from fresh f cross join this_moment t
    group by f.company_id, f.chatbot_id, f.channel_account_id, f.end_user_id, f.channel, t.moment
    order by f.company_id, f.channel_account_id, f.end_user_id
    on conflict (company_id, channel_account_id, end_user_id) where status = 'active'
    do update set
      last_seq = c.last_seq + excluded.last_seq,
      message_count = c.message_count + excluded.message_count,
      -- By the clock, once the row is ours: a conversation's messages have rising times.
      last_message_at = greatest(c.last_message_at, clock_timestamp()),
      end_user_name = coalesce(excluded.end_user_name, c.end_user_name),
      updated_at = now()
    returning c.company_id, c.id, c.chatbot_id, c.channel_account_id, c.end_user_id, c.last_seq,
      c.last_message_at
  ),
  numbered as materialized (
    select f.*, o.id as conversation_id, o.last_message_at, uuidv7() as message_id,
      o.last_seq + 1 - row_number() over (partition by o.company_id, o.id order by f.ord desc)
        as seq
    from fresh f
    join opened o on o.company_id = f.company_id
      and o.channel_account_id = f.channel_account_id and o.end_user_id = f.end_user_id
  ),
  stored as (
    insert into public.messages
      (company_id, id, conversation_id, chatbot_id, channel_account_id, seq, external_message_id,
        sender_type, message_type, content, media_url, status, created_at)
    select n.company_id, n.message_id, n.conversation_id, n.chatbot_id, n.channel_account_id, n.seq,
      n.external_id, 'end_user', n.message_type, n.content, n.media_url, 'delivered',
      n.last_message_at
    from numbered n
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
      when l.ord is null then 'unknown'
      when not l.is_genuine then 'refused'
      when n.ord = e.ord then 'stored'
      else 'duplicate' end,
    l.company_id,
    coalesce(n.conversation_id, l.known_conversation_id),
    coalesce(n.message_id, l.known_id),
    coalesce(n.seq, l.known_seq)
  from event e
  left join looked_up l on l.ord = e.ord
  left join numbered n on n.ord = l.first_ord and l.is_genuine
  order by e.ord
$$;
comment on function private.ingest(text[], text[], bytea[], text[], text[], text[], text[], text[], text[]) is
  'Stores events of any company: verifies each by its channel account, drops known ones, opens or continues the conversation, and requests one reply each. Outcome per event: stored, duplicate, refused or unknown. Security definer, called by the web process, because webhooks belong to no principal, and one batch holds many companies.';
grant execute on function private.ingest(text[], text[], bytea[], text[], text[], text[], text[],
  text[], text[]) to neurant_app;

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
  'Stores a raw event that did not become a message. Security definer, called by the web process, because webhooks belong to no principal.';
grant execute on function private.set_aside_event(text, bytea, text, bytea, text) to neurant_app;
