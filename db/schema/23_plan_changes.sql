-- Changes of plan: requests, the end of a period, past-due payments, trials.

create table public.plan_requests (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  plan public.subscription_plan_enum not null,
  requested_by uuid not null,
  status text not null default 'pending'
    check (status in ('pending', 'confirmed', 'withdrawn', 'replaced')),
  created_at timestamptz not null default now(),
  decided_at timestamptz,
  primary key (company_id, id),
  foreign key (company_id, requested_by) references public.users (company_id, id),
  check ((status = 'pending') = (decided_at is null))
);
comment on table public.plan_requests is
  'A plan with a price that an owner asked for. It begins when the biller confirms it.';
create unique index plan_requests_pending_idx on public.plan_requests (company_id)
  where status = 'pending';
create index plan_requests_by_idx on public.plan_requests (company_id, requested_by);

alter table public.plan_requests enable row level security, force row level security;
create policy staff_select on public.plan_requests for select to authenticated
  using (company_id = (select private.company_id('billing.read')));
create policy router_select on public.plan_requests for select to neurant_router using (true);
create policy router_insert on public.plan_requests for insert to neurant_router with check (true);
create policy router_update on public.plan_requests for update to neurant_router
  using (true) with check (true);
grant select on public.plan_requests to authenticated;
grant select, insert on public.plan_requests to neurant_router;
grant update (status, decided_at) on public.plan_requests to neurant_router;

select private.audit_table('public.plan_requests', 'requested_by',
  '{plan,requested_by,status,decided_at}',
  '{}',
  '{}',
  '{created_at}');

create function private.apply_plan(p_company uuid, p_plan public.subscription_plan_enum)
returns void
language sql volatile security definer set search_path = '' as $$
  update public.companies c
  set subscription_plan = p.plan,
    monthly_message_limit = p.monthly_message_limit,
    max_chatbots = p.max_chatbots,
    max_users = p.max_users,
    max_integrations = p.max_integrations,
    max_document_characters = p.max_document_characters,
    max_storage_mb = p.max_storage_mb,
    max_hitl_concurrent = p.max_hitl_concurrent,
    plan_changed_at = now(),
    next_plan = null,
    plan_change_scheduled_at = null
  from public.plans p
  where c.id = p_company and p.plan = p_plan
$$;
comment on function private.apply_plan(uuid, public.subscription_plan_enum) is
  'Gives a company the limits of a plan, whatever its use. Security definer, called by other definers only, because no role may write plans and limits directly.';

create function private.exceeded_limits(
  p_company uuid, p_plan public.subscription_plan_enum, p_now timestamptz)
returns text[]
language sql stable security definer set search_path = '' as $$
  select coalesce(array_agg(e.limit_name), '{}')
  from private.plan_excess(p_company, p_plan, p_now) e
$$;
comment on function private.exceeded_limits(uuid, public.subscription_plan_enum, timestamptz) is
  'Returns the limits of a plan that a company''s use exceeds. The caller must hold the lock on the company. Security definer, called by other definers only, because no role may read the slots.';

create function private.next_month_start(p_company uuid, p_now timestamptz) returns timestamptz
language sql stable security definer set search_path = '' as $$
  select private.anchor_date(
    (date_trunc('month', private.month_start(
      (p_now at time zone c.timezone)::date, c.monthly_anchor_day)::timestamp)
      + interval '1 month')::date, c.monthly_anchor_day)::timestamp at time zone c.timezone
  from public.companies c
  where c.id = p_company
$$;
comment on function private.next_month_start(uuid, timestamptz) is
  'Returns when the company''s next month begins, by its anchor day and timezone. Security definer, called by other definers only, because it reads companies for other definers.';

create function private.change_plan(
  p_plan public.subscription_plan_enum, p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_from smallint;
  v_to public.plans;
begin
  select c.* into v_company from public.companies c
  where c.id = (select private.company_id('billing.manage')) for no key update;
  if v_company.id is null then
    return 'forbidden';
  elsif v_company.subscription_status = 'cancelled' then
    return 'closed';
  end if;
  select p.rank into v_from from public.plans p where p.plan = v_company.subscription_plan;
  select p.* into v_to from public.plans p where p.plan = p_plan;
  if v_company.subscription_status = 'active' and v_to.rank = v_from then
    return 'unchanged';
  elsif p_plan = 'free' and v_company.subscription_status in ('trialing', 'inactive') then
    return case private.confirm_plan(v_company.id, 'free', p_now)
      when 'confirmed' then 'applied' else 'does_not_fit' end;
  elsif v_to.rank < v_from and v_company.subscription_status in ('active', 'past_due') then
    update public.companies c
    set next_plan = p_plan, plan_change_scheduled_at = (select private.paid_until(v_company.id, p_now)),
      -- To go on with a smaller plan is to go on.
      subscription_ends_at = case v_company.subscription_status
        when 'past_due' then v_company.subscription_ends_at end
    where c.id = v_company.id;
    return 'scheduled';
  elsif v_to.monthly_price_usd is null then
    return 'not_for_sale';
  elsif v_to.rank < v_from and private.exceeded_limits(v_company.id, p_plan, p_now) <> '{}' then
    return 'does_not_fit';
  end if;
  update public.plan_requests r set status = 'replaced', decided_at = p_now
  where r.company_id = v_company.id and r.status = 'pending' and r.plan <> p_plan;
  insert into public.plan_requests (company_id, plan, requested_by)
  values (v_company.id, p_plan, (select private.user_id()))
  on conflict (company_id) where status = 'pending' do nothing;
  return 'requested';
end $$;
comment on function private.change_plan(public.subscription_plan_enum, timestamptz) is
  'The owner chooses a plan. Outcome: requested (it costs money and waits for private.confirm_plan), scheduled (a smaller plan, at the end of the paid period), applied (a free one, from a trial or inactive), does_not_fit (see private.plan_fit), unchanged, not_for_sale (it has no price), closed (reopen first) or forbidden. Security definer, called by staff and API keys, because no role may write plans and limits directly.';
grant execute on function private.change_plan(public.subscription_plan_enum, timestamptz) to
  authenticated;

create function private.cancel_plan_change() returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_withdrawn boolean;
begin
  select c.* into v_company from public.companies c
  where c.id = (select private.company_id('billing.manage')) for no key update;
  if v_company.id is null then
    return 'forbidden';
  elsif v_company.subscription_status = 'cancelled' then
    return 'closed';
  end if;
  update public.plan_requests r set status = 'withdrawn', decided_at = now()
  where r.company_id = v_company.id and r.status = 'pending';
  v_withdrawn := found;
  update public.companies c
  set next_plan = null, plan_change_scheduled_at = null,
    subscription_ends_at = case c.subscription_status when 'active' then null
      else c.subscription_ends_at end
  where c.id = v_company.id and (c.next_plan is not null
    or c.subscription_status = 'active' and c.subscription_ends_at is not null);
  return case when found or v_withdrawn then 'cancelled' else 'nothing_scheduled' end;
end $$;
comment on function private.cancel_plan_change() is
  'The owner keeps the current plan and withdraws a requested or scheduled plan or a cancellation. Outcome: cancelled, nothing_scheduled, closed or forbidden. Security definer, called by staff and API keys, because no role may write plans and limits directly.';
grant execute on function private.cancel_plan_change() to authenticated;

create function private.apply_due_plan_changes(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_exceeded text[];
  v_applied integer := 0;
begin
  for v_company in
    -- What somebody changes right now comes at the next turn.
    select c.* from public.companies c
    where c.next_plan is not null and c.plan_change_scheduled_at <= p_now
      and c.subscription_status <> 'cancelled'
    order by c.id for no key update skip locked
  loop
    v_exceeded := private.exceeded_limits(v_company.id, v_company.next_plan, p_now);
    if v_exceeded = '{}' then
      perform private.apply_plan(v_company.id, v_company.next_plan);
      perform private.notify_users(v_company.id, '{owner,administrador}', 'plan_changed',
        jsonb_build_object('plan', v_company.next_plan));
      v_applied := v_applied + 1;
      continue;
    end if;
    insert into public.plan_alerts (company_id, subject, level, period_start)
    values (v_company.id, 'plan_change', 100, private.month_start(
      (p_now at time zone v_company.timezone)::date, v_company.monthly_anchor_day))
    on conflict do nothing;
    if found then
      perform private.notify_users(v_company.id, '{owner,administrador}', 'plan_change_waits',
        jsonb_build_object('plan', v_company.next_plan, 'limits', v_exceeded));
    end if;
  end loop;
  return v_applied;
end $$;
comment on function private.apply_due_plan_changes(timestamptz) is
  'Begins the smaller plans that are due, where the company''s use fits; where it does not, notifies the company once a month and waits. Returns the number of plans that began. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.apply_due_plan_changes(timestamptz) to neurant_jobs;

create function private.plan_excess(
  p_company uuid, p_plan public.subscription_plan_enum, p_now timestamptz)
returns table (limit_name text, used bigint, allowed bigint)
language sql stable security definer set search_path = '' as $$
  select u.limit_name, u.used, there.allowed
  from private.plan_use(p_company, p_now) u
  join public.plans p on p.plan = p_plan
  cross join lateral (
    select (to_jsonb(p) ->> u.limit_name)::bigint
      * case when u.limit_name = 'max_storage_mb' and p.max_storage_mb > 0 then 1048576 else 1 end
      as allowed) there
  where u.limit_name <> 'monthly_message_limit'  -- a new month begins with the new plan
    and there.allowed <> -1 and u.used > there.allowed
  union all
  select 'channels', count(*), 0
  from public.channel_accounts a
  join public.plans p on p.plan = p_plan
  where a.company_id = p_company and a.status in ('connected', 'error')
    and a.channel <> all (p.channels)
  having count(*) > 0
$$;
comment on function private.plan_excess(uuid, public.subscription_plan_enum, timestamptz) is
  'Returns what exceeds a plan in a company, with amounts as in plan_use; channels: the accounts connected to a channel that the plan lacks. The caller must hold the lock on the company. Security definer, called by other definers only, because no role may read the slots.';

create function private.plan_fit(
  p_plan public.subscription_plan_enum, p_now timestamptz default now())
returns table (limit_name text, used bigint, allowed bigint)
language sql stable security definer set search_path = '' as $$
  select e.limit_name, e.used, e.allowed
  from private.plan_excess((select private.company_id('company.read')), p_plan, p_now) e
$$;
comment on function private.plan_fit(public.subscription_plan_enum, timestamptz) is
  'Returns what exceeds a plan in the caller''s own company; no rows: everything fits. Security definer, called by staff and API keys, because no role may read the slots.';
grant execute on function private.plan_fit(public.subscription_plan_enum, timestamptz) to
  authenticated;

create function private.allow_channel() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_plan public.plans;
begin
  if tg_op = 'UPDATE' and old.status in ('connected', 'error') and old.channel = new.channel then
    return null;
  end if;
  -- Shared: a smaller plan that begins at this moment waits, or is seen.
  perform from public.companies c where c.id = new.company_id for share;
  select p.* into v_plan
  from public.companies c join public.plans p on p.plan = c.subscription_plan
  where c.id = new.company_id;
  if new.channel <> all (v_plan.channels) then
    raise exception 'limit reached: channels' using errcode = 'NA002',
      detail = jsonb_build_object('limit', 'channels', 'used', 0, 'allowed', 0,
        'channel', new.channel, 'plan', v_plan.plan, 'next_plan', (
          select p.plan from public.plans p
          where p.rank > v_plan.rank and new.channel = any (p.channels) order by p.rank limit 1));
  end if;
  return null;
end $$;
comment on function private.allow_channel() is
  'Refuses a channel that the plan lacks, with NA002. Security definer, called by a trigger, because the rule must read the plan and lock the company, whoever connects the channel.';

create function private.fall_back(p_company uuid, p_reason text, p_now timestamptz) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_exceeded text[] := private.exceeded_limits(p_company, 'free', p_now);
begin
  if v_exceeded = '{}' then
    perform private.apply_plan(p_company, 'free');
    update public.companies c set subscription_status = 'active', subscription_ends_at = null
    where c.id = p_company;
    perform private.notify_users(p_company, '{owner,administrador}', 'subscription_ended',
      jsonb_build_object('reason', p_reason, 'plan', 'free'));
    return 'free';
  end if;
  update public.companies c
  set subscription_status = 'inactive', subscription_ends_at = p_now, next_plan = null,
    plan_change_scheduled_at = null
  where c.id = p_company;
  perform private.notify_users(p_company, '{owner,administrador}', 'subscription_inactive',
    jsonb_build_object('reason', p_reason, 'limits', v_exceeded));
  return 'inactive';
end $$;
comment on function private.fall_back(uuid, text, timestamptz) is
  'Ends the paid period: the plan becomes free if the use fits, else the company becomes inactive and keeps its data. The caller must hold the lock on the company. Security definer, called by other definers only, because no role may write plans and status directly.';

create function private.end_subscriptions(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_ended integer := 0;
begin
  for v_company in
    select c.* from public.companies c
    where c.subscription_status in ('trialing', 'active', 'past_due')
      and c.subscription_ends_at <= p_now
    order by c.id for no key update skip locked
  loop
    v_ended := v_ended + 1;
    if v_company.subscription_status = 'past_due' then
      update public.companies c
      set subscription_status = 'inactive', subscription_ends_at = p_now, next_plan = null,
        plan_change_scheduled_at = null
      where c.id = v_company.id;
      perform private.notify_users(v_company.id, '{owner,administrador}', 'subscription_inactive',
        '{"reason": "past_due", "limits": []}');
    else
      perform private.fall_back(v_company.id,
        case v_company.subscription_status when 'trialing' then 'trial' else 'cancelled' end, p_now);
    end if;
  end loop;
  return v_ended;
end $$;
comment on function private.end_subscriptions(timestamptz) is
  'Ends the trials, cancelled subscriptions and grace periods that are over. Trials and cancelled subscriptions become free if the use fits, else inactive; past_due becomes inactive. Returns the number of companies. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.end_subscriptions(timestamptz) to neurant_jobs;

create function private.tell_ending_trials(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_told integer := 0;
begin
  for v_company in
    select c.* from public.companies c
    where c.subscription_status = 'trialing' and c.subscription_ends_at > p_now
      and c.subscription_ends_at <= p_now + interval '3 days'
    order by c.id
  loop
    insert into public.plan_alerts (company_id, subject, level, period_start)
    values (v_company.id, 'trial_ends', 100,
      (v_company.subscription_ends_at at time zone v_company.timezone)::date)
    on conflict do nothing;
    if found then
      perform private.notify_users(v_company.id, '{owner,administrador}', 'trial_ends',
        jsonb_build_object('plan', v_company.subscription_plan, 'at', v_company.subscription_ends_at));
      v_told := v_told + 1;
    end if;
  end loop;
  return v_told;
end $$;
comment on function private.tell_ending_trials(timestamptz) is
  'Notifies the owner and administradores once, within three days before the trial ends. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.tell_ending_trials(timestamptz) to neurant_jobs;

create function private.set_past_due(p_company uuid, p_now timestamptz default now()) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_until timestamptz := p_now + interval '14 days';
begin
  select c.* into v_company from public.companies c where c.id = p_company for no key update;
  if v_company.id is null then
    return 'unknown';
  elsif v_company.subscription_status not in ('active', 'trialing')
    or v_company.subscription_plan = 'free' then
    return 'unchanged';
  end if;
  update public.companies c set subscription_status = 'past_due', subscription_ends_at = v_until
  where c.id = p_company;
  perform private.notify_users(p_company, '{owner,administrador}', 'past_due',
    jsonb_build_object('plan', v_company.subscription_plan, 'at', v_until));
  return 'past_due';
end $$;
comment on function private.set_past_due(uuid, timestamptz) is
  'Records a missing payment; everything works for 14 more days. Outcome: past_due, unchanged (nothing is paid for, or it is past due already) or unknown. Security definer, called by the web process, because only the biller, through the web process or the command line, may record it.';
grant execute on function private.set_past_due(uuid, timestamptz) to neurant_app;

create function private.confirm_plan(
  p_company uuid, p_plan public.subscription_plan_enum, p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_is_smaller boolean;
begin
  select c.* into v_company from public.companies c where c.id = p_company for no key update;
  if v_company.id is null then
    return 'unknown';
  elsif v_company.subscription_status = 'cancelled' then
    return 'closed';
  end if;
  select t.rank < f.rank into v_is_smaller
  from public.plans f, public.plans t
  where f.plan = v_company.subscription_plan and t.plan = p_plan;
  if v_is_smaller and private.exceeded_limits(p_company, p_plan, p_now) <> '{}' then
    return 'does_not_fit';
  end if;
  if v_company.subscription_plan <> p_plan then
    perform private.apply_plan(p_company, p_plan);
  end if;
  update public.companies c set subscription_status = 'active', subscription_ends_at = null
  where c.id = p_company;
  update public.plan_requests r
  set status = case r.plan when p_plan then 'confirmed' else 'replaced' end, decided_at = p_now
  where r.company_id = p_company and r.status = 'pending';
  if v_company.subscription_status = 'inactive' then
    perform private.drop_stale_work(p_company, p_now);
  end if;
  if (v_company.subscription_plan, v_company.subscription_status) <> (p_plan, 'active') then
    perform private.notify_users(p_company, '{owner,administrador}', 'plan_changed',
      jsonb_build_object('plan', p_plan));
  end if;
  return 'confirmed';
end $$;
comment on function private.confirm_plan(uuid, public.subscription_plan_enum, timestamptz) is
  'Records that a plan is paid for, so that it begins at once, whatever the status was. Outcome: confirmed, does_not_fit (a smaller plan, see private.plan_excess), closed or unknown. It is granted to logins only, so that no member of the staff can assign a plan. Security definer, called by the web process, because no role may write plans and limits directly.';
grant execute on function private.confirm_plan(uuid, public.subscription_plan_enum, timestamptz)
  to neurant_app;

create function private.drop_stale_work(p_company uuid, p_now timestamptz) returns void
language sql volatile security definer set search_path = '' as $$
  -- Nobody wants an answer to what they asked a week ago; the messages stay, and people see them.
  delete from public.reply_requests r using public.conversations c
  where r.company_id = p_company and c.company_id = r.company_id and c.id = r.conversation_id
    and c.last_message_at < p_now - interval '1 day';
  with late as (
    update public.outbox o set status = 'cancelled', last_error = 'too_late'
    where o.company_id = p_company and o.status = 'pending'
      and o.created_at < p_now - interval '1 day'
    returning o.company_id, o.message_id
  )
  update public.messages m set status = 'cancelled'
  from late where m.company_id = late.company_id and m.id = late.message_id;
$$;
comment on function private.drop_stale_work(uuid, timestamptz) is
  'Drops the replies and deliveries of a returning company that have waited for more than a day. Security definer, called by other definers only, because no role may write the queues directly.';

create function private.paid_until(p_company uuid, p_now timestamptz) returns timestamptz
language sql stable security definer set search_path = '' as $$
  select coalesce(
    (select a.period_end from public.billing_accounts a
      where a.company_id = p_company and a.status in ('active', 'trialing', 'past_due')
        and a.period_end > p_now),
    private.next_month_start(p_company, p_now))
$$;
comment on function private.paid_until(uuid, timestamptz) is
  'Returns when a company''s paid period ends: as the biller reported it, else the end of its month. Security definer, called by other definers only, because it reads the billing account for other definers.';

create function private.cancel_subscription(p_now timestamptz default now()) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
begin
  select c.* into v_company from public.companies c
  where c.id = (select private.company_id('billing.manage')) for no key update;
  if v_company.id is null then
    return 'forbidden';
  elsif v_company.subscription_status = 'cancelled' then
    return 'closed';
  end if;
  update public.plan_requests r set status = 'withdrawn', decided_at = p_now
  where r.company_id = v_company.id and r.status = 'pending';
  if v_company.subscription_status = 'past_due' then
    return 'ended_' || private.fall_back(v_company.id, 'cancelled', p_now);
  elsif v_company.subscription_status <> 'active' or v_company.subscription_plan = 'free' then
    return 'nothing_to_cancel';
  elsif v_company.subscription_ends_at is null then
    update public.companies c
    set subscription_ends_at = (select private.paid_until(v_company.id, p_now)), next_plan = null,
      plan_change_scheduled_at = null
    where c.id = v_company.id;
  end if;
  return 'scheduled';
end $$;
comment on function private.cancel_subscription(timestamptz) is
  'The owner stops paying. Outcome: scheduled (for the end of the paid period), ended_free or ended_inactive (at once, if a payment is missing), nothing_to_cancel (free, a trial, inactive), closed or forbidden. Security definer, called by staff and API keys, because no role may write plans and status directly.';
grant execute on function private.cancel_subscription(timestamptz) to authenticated;

create function private.start_trial(
  p_plan public.subscription_plan_enum, p_days integer, p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_plan public.plans;
begin
  if p_days not between 1 and 30 then
    raise exception 'a trial lasts 1 to 30 days' using errcode = 'check_violation';
  end if;
  select c.* into v_company from public.companies c
  where c.id = (select private.company_id('billing.manage')) for no key update;
  select p.* into v_plan from public.plans p where p.plan = p_plan;
  if v_company.id is null then
    return 'forbidden';
  elsif v_company.subscription_status = 'cancelled' then
    return 'closed';
  elsif v_company.trial_started_at is not null then
    return 'tried_before';
  elsif v_plan.monthly_price_usd is null then
    return 'not_for_sale';
  elsif v_company.subscription_plan <> 'free' or p_plan = 'free' then
    return 'nothing_to_try';
  end if;
  perform private.apply_plan(v_company.id, p_plan);
  update public.companies c
  set subscription_status = 'trialing', trial_started_at = p_now, subscription_started_at = p_now,
    subscription_ends_at = p_now + p_days * interval '1 day'
  where c.id = v_company.id;
  return 'started';
end $$;
comment on function private.start_trial(public.subscription_plan_enum, integer, timestamptz) is
  'The owner of a company on the free plan tries another plan; end_subscriptions() ends the trial. Outcome: started, tried_before, nothing_to_try (the company pays for a plan, or the free plan is requested), not_for_sale, closed or forbidden. Security definer, called by staff and API keys, because no role may write plans and status directly.';
grant execute on function private.start_trial(public.subscription_plan_enum, integer, timestamptz)
  to authenticated;
