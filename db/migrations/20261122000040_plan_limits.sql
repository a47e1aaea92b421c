-- migrate:up
-- What a plan allows is held here: counters that are exact at commit, and a refusal at the limit.
set local role neurant_owner;

alter table public.companies
  add column current_document_characters bigint not null default 0
    check (current_document_characters >= 0),
  add column current_storage_bytes bigint not null default 0 check (current_storage_bytes >= 0),
  add column current_hitl_count integer not null default 0 check (current_hitl_count >= 0);

comment on column public.companies.current_chatbot_count is
  'Chatbots that are not retired. Exact at commit; kept by a trigger, never written by hand.';
comment on column public.companies.current_user_count is
  'Seats: active users and pending invitations, since an invitation must not be sent that could not be accepted. Exact at commit; an invitation that ran out counts until it is marked, which happens each minute and before anybody is refused a seat. Kept by triggers.';
comment on column public.companies.current_integration_count is
  'Active integrations. Exact at commit; kept by a trigger.';
comment on column public.companies.current_document_characters is
  'Characters of the documents that are not retired, from the moment that their reading begins. Exact at commit; kept by a trigger.';
comment on column public.companies.current_storage_bytes is
  'Bytes of the files of documents that are not retired. Exact at commit; kept by a trigger.';
comment on column public.companies.current_hitl_count is
  'Conversations that a person attends now (hitl_sessions with status active; those that wait do not count). Exact at commit; kept by a trigger.';
comment on column public.companies.max_users is
  'Active users and pending invitations together, the owner included; -1: unlimited.';
comment on column public.companies.max_storage_mb is
  'In units of 1,048,576 bytes, as every size that the product shows; -1: unlimited.';
comment on column public.companies.max_hitl_concurrent is
  'Conversations attended by people at one time, others may wait in the queue; 0: no people at all, and the bot hands nothing over; -1: unlimited.';

create function private.use_plan(p_company uuid, p_limit text, p_change bigint) returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_used bigint;
  v_allowed bigint;
begin
  update public.companies c
  set current_chatbot_count = c.current_chatbot_count
      + case p_limit when 'max_chatbots' then p_change else 0 end,
    current_user_count = c.current_user_count
      + case p_limit when 'max_users' then p_change else 0 end,
    current_integration_count = c.current_integration_count
      + case p_limit when 'max_integrations' then p_change else 0 end,
    current_document_characters = c.current_document_characters
      + case p_limit when 'max_document_characters' then p_change else 0 end,
    current_storage_bytes = c.current_storage_bytes
      + case p_limit when 'max_storage_mb' then p_change else 0 end,
    current_hitl_count = c.current_hitl_count
      + case p_limit when 'max_hitl_concurrent' then p_change else 0 end
  where c.id = p_company
  returning c.* into v_company;
  if p_limit = 'max_users' and p_change > 0 and v_company.max_users <> -1
    and v_company.current_user_count > v_company.max_users then
    -- Invitations that ran out hold no seat; a trigger gives theirs back.
    update public.user_invitations i set status = 'expired'
    where i.company_id = p_company and i.status = 'pending' and i.expires_at <= now();
    select c.* into v_company from public.companies c where c.id = p_company;
  end if;
  select u.used, u.allowed into v_used, v_allowed
  from (values
    ('max_chatbots', v_company.current_chatbot_count::bigint, v_company.max_chatbots::bigint),
    ('max_users', v_company.current_user_count, v_company.max_users),
    ('max_integrations', v_company.current_integration_count, v_company.max_integrations),
    ('max_document_characters', v_company.current_document_characters, v_company.max_document_characters),
    ('max_storage_mb', v_company.current_storage_bytes,
      case v_company.max_storage_mb when -1 then -1 else v_company.max_storage_mb * 1048576::bigint end),
    ('max_hitl_concurrent', v_company.current_hitl_count, v_company.max_hitl_concurrent)
  ) as u (limit_name, used, allowed)
  where u.limit_name = p_limit;
  if p_change > 0 and v_allowed <> -1 and v_used > v_allowed then
    perform private.refuse_over_limit(p_limit, v_used - p_change, v_allowed);
  end if;
end $$;
comment on function private.use_plan(uuid, text, bigint) is
  'Counts a change against a limit of the company (named as its column), or refuses it: NA002. Locks the company''s row until the end of the transaction, so it is never called for no change. What is there when a limit is lowered stays. Definer: counters are nobody''s to write by hand.';

create function private.refuse_over_limit(p_limit text, p_used bigint, p_allowed bigint) returns void
language plpgsql set search_path = '' as $$
begin
  raise exception 'limit reached: %', p_limit using errcode = 'NA002',
    detail = jsonb_build_object('limit', p_limit, 'used', p_used, 'allowed', p_allowed);
end $$;

create function private.count_chatbot() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_change integer := (tg_op <> 'DELETE' and new.retired_at is null)::integer
    - (tg_op <> 'INSERT' and old.retired_at is null)::integer;
begin
  if v_change <> 0 then
    perform private.use_plan(coalesce(new.company_id, old.company_id), 'max_chatbots', v_change);
  end if;
  return null;
end $$;
comment on function private.count_chatbot() is
  'Definer: whoever may make a bot may not write counters.';

create function private.count_user() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_change integer := (tg_op <> 'DELETE' and coalesce(new.is_active, false))::integer
    - (tg_op <> 'INSERT' and coalesce(old.is_active, false))::integer;
begin
  if v_change <> 0 then
    perform private.use_plan(coalesce(new.company_id, old.company_id), 'max_users', v_change);
  end if;
  return null;
end $$;
comment on function private.count_user() is 'Definer: nobody may write counters.';

create function private.count_invitation() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_change integer := (tg_op <> 'DELETE' and coalesce(new.status = 'pending', false))::integer
    - (tg_op <> 'INSERT' and coalesce(old.status = 'pending', false))::integer;
begin
  if v_change <> 0 then
    perform private.use_plan(coalesce(new.company_id, old.company_id), 'max_users', v_change);
  end if;
  return null;
end $$;
comment on function private.count_invitation() is 'Definer: nobody may write counters.';

create function private.count_integration() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_change integer := (tg_op <> 'DELETE' and coalesce(new.is_active, false))::integer
    - (tg_op <> 'INSERT' and coalesce(old.is_active, false))::integer;
begin
  if v_change <> 0 then
    perform private.use_plan(coalesce(new.company_id, old.company_id), 'max_integrations', v_change);
  end if;
  return null;
end $$;
comment on function private.count_integration() is 'Definer: nobody may write counters.';

create function private.count_document() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := coalesce(new.company_id, old.company_id);
  v_is boolean := tg_op <> 'DELETE' and new.retired_at is null;
  v_was boolean := tg_op <> 'INSERT' and old.retired_at is null;
  v_bytes bigint := case when v_is then new.file_size_bytes else 0 end
    - case when v_was then old.file_size_bytes else 0 end;
  v_characters bigint := case when v_is then coalesce(new.character_count, 0) else 0 end
    - case when v_was then coalesce(old.character_count, 0) else 0 end;
begin
  if v_bytes <> 0 then
    perform private.use_plan(v_company, 'max_storage_mb', v_bytes);
  end if;
  if v_characters <> 0 then
    perform private.use_plan(v_company, 'max_document_characters', v_characters);
  end if;
  return null;
end $$;
comment on function private.count_document() is
  'Definer: whoever adds a document, or the worker that reads it, may not write counters.';

create function private.count_takeover() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_change integer := (tg_op <> 'DELETE' and coalesce(new.status = 'active', false))::integer
    - (tg_op <> 'INSERT' and coalesce(old.status = 'active', false))::integer;
  v_company public.companies;
begin
  if v_change <> 0 then
    perform private.use_plan(
      coalesce(new.company_id, old.company_id), 'max_hitl_concurrent', v_change);
  elsif tg_op = 'INSERT' and new.status = 'pending' then
    select c.* into v_company from public.companies c where c.id = new.company_id;
    if v_company.max_hitl_concurrent = 0 then
      perform private.refuse_over_limit('max_hitl_concurrent', v_company.current_hitl_count, 0);
    end if;
  end if;
  return null;
end $$;
comment on function private.count_takeover() is
  'Counts the takeovers that a person attends; one may wait in the queue unless the plan has none at all. Definer: nobody may write counters.';

create function private.plan_use(p_company uuid, p_now timestamptz)
returns table (
  limit_name text, used bigint, allowed bigint, next_plan public.subscription_plan_enum)
language sql stable security definer set search_path = '' as $$
  select l.limit_name, l.used,
    case l.allowed when -1 then -1 else l.allowed * l.unit end,
    (select p.plan
      from public.plans p
      cross join lateral (select (to_jsonb(p) ->> l.limit_name)::bigint as allowed) there
      where l.allowed <> -1 and (there.allowed = -1 or there.allowed > l.allowed)
      order by p.rank
      limit 1)
  from public.companies c
  cross join lateral (values
    (1, 'monthly_message_limit', c.monthly_message_limit::bigint, 1::bigint,
      case when c.monthly_reset_date
          < private.month_start((p_now at time zone c.timezone)::date, c.monthly_anchor_day) then 0
        else c.monthly_message_count + coalesce((
          select sum(s.used) from public.usage_slots s where s.company_id = c.id), 0) end),
    (2, 'max_chatbots', c.max_chatbots, 1, c.current_chatbot_count),
    (3, 'max_users', c.max_users, 1, c.current_user_count - (
      select count(*) from public.user_invitations i
      where i.company_id = c.id and i.status = 'pending' and i.expires_at <= p_now)),
    (4, 'max_integrations', c.max_integrations, 1, c.current_integration_count),
    (5, 'max_document_characters', c.max_document_characters, 1, c.current_document_characters),
    (6, 'max_storage_mb', c.max_storage_mb, 1048576, c.current_storage_bytes),
    (7, 'max_hitl_concurrent', c.max_hitl_concurrent, 1, c.current_hitl_count)
  ) as l (place, limit_name, allowed, unit, used)
  where c.id = p_company
  order by l.place
$$;
comment on function private.plan_use(uuid, timestamptz) is
  'Each limit of a company with its use, exact at commit (storage in bytes, the rest counted; -1: unlimited), and the cheapest plan that allows more. Definer: called by definers; the slots are nobody''s to read.';

create function private.usage(p_now timestamptz default now())
returns table (
  limit_name text, used bigint, allowed bigint, next_plan public.subscription_plan_enum)
language sql stable security definer set search_path = '' as $$
  select u.limit_name, u.used, u.allowed, u.next_plan
  from private.plan_use((select private.company_id()), p_now) u
$$;
comment on function private.usage(timestamptz) is
  'The use of the caller''s own company against its limits, as plan_use tells it. Definer, as plan_use.';

drop policy if exists router_update on public.companies;
create policy router_update on public.companies for update to neurant_router
  using (true) with check (true);
grant update (current_chatbot_count, current_user_count, current_integration_count,
  current_document_characters, current_storage_bytes, current_hitl_count, updated_at)
  on public.companies to neurant_router;

create trigger keep_chatbot_count after insert or delete or update of retired_at on public.chatbots
  for each row execute function private.count_chatbot();
create trigger keep_user_count after insert or delete or update of is_active on public.users
  for each row execute function private.count_user();
create trigger keep_user_count after insert or delete or update of status on public.user_invitations
  for each row execute function private.count_invitation();
create trigger keep_integration_count
  after insert or delete or update of is_active on public.integrations
  for each row execute function private.count_integration();
create trigger keep_document_use
  after insert or delete or update of retired_at, character_count, file_size_bytes on public.documents
  for each row execute function private.count_document();
-- After follow_hitl_session, by its name: the conversation is locked before the company.
create trigger keep_hitl_count after insert or delete or update of status on public.hitl_sessions
  for each row execute function private.count_takeover();

grant execute on function private.use_plan(uuid, text, bigint),
  private.refuse_over_limit(text, bigint, bigint), private.plan_use(uuid, timestamptz)
  to neurant_router;
grant execute on function private.usage(timestamptz) to authenticated, neurant_worker;
alter function private.use_plan(uuid, text, bigint) owner to neurant_router;
alter function private.count_chatbot() owner to neurant_router;
alter function private.count_user() owner to neurant_router;
alter function private.count_invitation() owner to neurant_router;
alter function private.count_integration() owner to neurant_router;
alter function private.count_document() owner to neurant_router;
alter function private.count_takeover() owner to neurant_router;
alter function private.plan_use(uuid, timestamptz) owner to neurant_router;
alter function private.usage(timestamptz) owner to neurant_router;

reset role;

-- Where companies have lived before: as the migrating login, since the owner sees no rows.
update public.companies c
set current_chatbot_count = (
    select count(*) from public.chatbots b where b.company_id = c.id and b.retired_at is null),
  current_user_count = (
    select count(*) from public.users u where u.company_id = c.id and u.is_active) + (
    select count(*) from public.user_invitations i
    where i.company_id = c.id and i.status = 'pending'),
  current_integration_count = (
    select count(*) from public.integrations i where i.company_id = c.id and i.is_active),
  current_document_characters = (
    select coalesce(sum(d.character_count), 0) from public.documents d
    where d.company_id = c.id and d.retired_at is null),
  current_storage_bytes = (
    select coalesce(sum(d.file_size_bytes), 0) from public.documents d
    where d.company_id = c.id and d.retired_at is null),
  current_hitl_count = (
    select count(*) from public.hitl_sessions s where s.company_id = c.id and s.status = 'active');
-- migrate:down
