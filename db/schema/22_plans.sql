-- Plans and their limits: each limit of a company with its counter.

create table public.plans (
  plan public.subscription_plan_enum primary key,
  rank smallint not null unique,
  monthly_message_limit integer not null check (monthly_message_limit >= -1),
  max_chatbots integer not null check (max_chatbots >= -1),
  max_users integer not null check (max_users >= -1),
  max_integrations integer not null check (max_integrations >= -1),
  max_document_characters integer not null check (max_document_characters >= -1),
  max_storage_mb integer not null check (max_storage_mb >= -1),
  max_hitl_concurrent integer not null check (max_hitl_concurrent >= -1),
  monthly_price_usd decimal(10, 2) check (monthly_price_usd >= 0),
  channels public.conversation_channel_enum[] not null,
  requests_per_minute integer not null default 120 check (requests_per_minute > 0),
  visitor_conversations_per_hour integer not null default 60
    check (visitor_conversations_per_hour > 0)
);
comment on table public.plans is
  'Platform table: the catalogue of plans. A company''s own limits are copied from it when its plan changes; -1 is unlimited.';
comment on column public.plans.monthly_price_usd is
  'Null: the price is agreed with each customer, and the plan is not sold by the catalogue.';
comment on column public.plans.requests_per_minute is
  'Requests to the HTTP API, for all callers of a company together.';
comment on column public.plans.visitor_conversations_per_hour is
  'Maximum of new conversations of web chat visitors in an hour, for companies without a number of their own.';

alter table public.plans enable row level security, force row level security;
create policy everybody_select on public.plans for select
  to authenticated, neurant_worker, neurant_router using (true);
grant select on public.plans to authenticated, neurant_worker, neurant_router;

create table public.plan_alerts (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  subject text not null check (subject ~ '^[a-z_]{3,50}$'),
  level smallint not null check (level between 1 and 100),
  period_start date not null,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, subject, level, period_start)
);
comment on table public.plan_alerts is
  'Notifications of limits that a company has received (subject: a limit, or plan_change), so that each is sent once a month.';

alter table public.plan_alerts enable row level security, force row level security;
create policy staff_select on public.plan_alerts for select to authenticated
  using (company_id = (select private.company_id('billing.read')));
create policy router_select on public.plan_alerts for select to neurant_router using (true);
create policy router_insert on public.plan_alerts for insert to neurant_router with check (true);
grant select on public.plan_alerts to authenticated;
grant select, insert on public.plan_alerts to neurant_router;

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
  'Counts a change against a limit of the company (named like its column), or refuses it with NA002. It locks the company''s row until the end of the transaction, so callers skip it when nothing changes. Existing use stays when a limit is lowered. Security definer, called by other definers only, because no role may write counters directly.';

create function private.refuse_over_limit(p_limit text, p_used bigint, p_allowed bigint) returns void
language plpgsql set search_path = '' as $$
begin
  raise exception 'limit reached: %', p_limit using errcode = 'NA002',
    detail = jsonb_build_object('limit', p_limit, 'used', p_used, 'allowed', p_allowed);
end $$;
grant execute on function private.refuse_over_limit(text, bigint, bigint) to neurant_router;

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
  'Counts a chatbot against the plan. Security definer, called by a trigger, because a person who may create a bot may not write counters.';

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
comment on function private.count_user() is
  'Counts a user against the plan. Security definer, called by a trigger, because no role may write counters directly.';

create trigger keep_user_count after insert or delete or update of is_active on public.users
  for each row execute function private.count_user();

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
comment on function private.count_invitation() is
  'Counts an invitation against the plan. Security definer, called by a trigger, because no role may write counters directly.';

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
comment on function private.count_integration() is
  'Counts an integration against the plan. Security definer, called by a trigger, because no role may write counters directly.';

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
  'Counts a document''s characters and bytes against the plan. Security definer, called by a trigger, because neither the person who adds a document nor the worker that reads it may write counters.';

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
  'Counts the takeovers that a person attends against the plan; any number may wait in the queue, unless the plan allows no takeovers at all. Security definer, called by a trigger, because no role may write counters directly.';

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
  'Returns each limit of a company with its use, exact at commit (storage in bytes, the rest as counts; -1: unlimited), and the cheapest plan that allows more. Security definer, called by other definers only, because no role may read the slots.';

create function private.usage(p_now timestamptz default now())
returns table (
  limit_name text, used bigint, allowed bigint, next_plan public.subscription_plan_enum)
language sql stable security definer set search_path = '' as $$
  select u.limit_name, u.used, u.allowed, u.next_plan
  from private.plan_use((select private.company_id('company.read')), p_now) u
$$;
comment on function private.usage(timestamptz) is
  'Returns the use of the caller''s own company against its limits, in the form of plan_use. Security definer, called by staff and API keys and the worker for one company, because no role may read the slots.';
grant execute on function private.usage(timestamptz) to authenticated, neurant_worker;

create function private.give_notice(p_company uuid, p_conversation uuid, p_notice text) returns uuid
language sql volatile security definer set search_path = '' as $$
  insert into public.messages
    (company_id, conversation_id, chatbot_id, channel_account_id, sender_type, content)
  select c.company_id, c.id, c.chatbot_id, c.channel_account_id, 'system', p_notice
  from public.conversations c
  where c.company_id = p_company and c.id = p_conversation
  returning id
$$;
comment on function private.give_notice(uuid, uuid, text) is
  'Writes a system line into a conversation, by its key in the message catalogue; a system line is never billed. Security definer, called by other definers only, because no role may write a message''s sender and order.';

create function private.tell_of_limit(p_company uuid, p_conversation uuid) returns uuid
language sql volatile security definer set search_path = '' as $$
  select private.give_notice(p_company, p_conversation, 'limit_reached')
  from public.companies k
  where k.id = p_company and not exists (
    select from public.messages m
    where m.company_id = k.id and m.conversation_id = p_conversation
      and m.sender_type = 'system' and m.content = 'limit_reached'
      and m.created_at >= k.monthly_reset_date::timestamp at time zone k.timezone)
$$;
comment on function private.tell_of_limit(uuid, uuid) is
  'Tells an end user once a month that the assistant has reached its limit. Returns the message, or null if the conversation has the line already. Security definer, called by other definers only, because no role may write a message''s sender and order.';

create function private.message_limit_reached() returns boolean
language sql stable security definer set search_path = '' as $$
  select c.monthly_message_limit <> -1
    and coalesce(private.message_usage(c.id) >= c.monthly_message_limit, false)
  from public.companies c
  where c.id = (select private.company_id())
$$;
comment on function private.message_limit_reached() is
  'Returns whether the caller''s company has no bot messages left this month, to be checked before an answer is searched for. Security definer, called by the worker for one company, because no role may read the slots.';
grant execute on function private.message_limit_reached() to neurant_worker;

create function private.raise_usage_alerts(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_raised integer;
begin
  with reached as materialized (
    select c.id as company_id, u.limit_name, l.level, u.used, u.allowed, u.next_plan,
      private.month_start((p_now at time zone c.timezone)::date, c.monthly_anchor_day) as period_start
    from public.companies c
    cross join lateral private.plan_use(c.id, p_now) u
    cross join (values (80), (95)) as l (level)
    where c.subscription_status not in ('cancelled', 'inactive') and u.allowed > 0
      and u.used * 100 >= u.allowed * l.level
  ),
  fresh as (
    insert into public.plan_alerts (company_id, subject, level, period_start)
    select r.company_id, r.limit_name, r.level, r.period_start
    from reached r
    order by r.company_id, r.limit_name, r.level
    on conflict do nothing
    returning company_id, subject, level
  ),
  told as (
    -- From below 80 to above 95 at one step is told once.
    select distinct on (r.company_id, r.limit_name) r.*
    from fresh f
    join reached r on r.company_id = f.company_id and r.limit_name = f.subject and r.level = f.level
    order by r.company_id, r.limit_name, r.level desc
  )
  insert into public.notifications (company_id, user_id, kind, details)
  select t.company_id, u.id, 'usage_alert', jsonb_build_object('limit', t.limit_name,
    'level', t.level, 'used', t.used, 'allowed', t.allowed, 'next_plan', t.next_plan)
  from told t
  join public.users u on u.company_id = t.company_id and u.is_active
    and u.role in ('owner', 'administrador');
  get diagnostics v_raised = row_count;
  return v_raised;
end $$;
comment on function private.raise_usage_alerts(timestamptz) is
  'Notifies the owner and administradores when 80 % and 95 % of a limit are used, once a month each. Returns the number of notifications. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.raise_usage_alerts(timestamptz) to neurant_jobs;
