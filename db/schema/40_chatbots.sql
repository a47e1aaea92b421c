-- Chatbots: templates, bots and their staff.

create function private.is_conversations(p_examples jsonb) returns boolean
language sql immutable set search_path = '' as $$
  select jsonb_typeof(p_examples) = 'array' and not exists (
    select
    from jsonb_array_elements(p_examples) as c (example)
    where jsonb_typeof(c.example) <> 'object' or coalesce(c.example ->> 'title', '') = ''
      or jsonb_typeof(c.example -> 'turns') is distinct from 'array'
      or exists (
        select from jsonb_path_query(c.example, '$.turns[*]') as t (turn)
        where t.turn ->> 'from' is null or t.turn ->> 'from' not in ('customer', 'bot')
          or coalesce(t.turn ->> 'text', '') = ''))
$$;
comment on function private.is_conversations(jsonb) is
  'Returns whether a value is a list of example conversations: [{"title": …, "turns": [{"from": "customer" or "bot", "text": …}, …]}, …].';
grant execute on function private.is_conversations(jsonb) to neurant_router;

create function private.is_personality(p_traits jsonb) returns boolean
language sql immutable set search_path = '' as $$
  select jsonb_typeof(p_traits) = 'object'
    and coalesce(p_traits ->> 'tone' in ('friendly', 'professional', 'helpful', 'expert', 'formal'), true)
    and coalesce(p_traits ->> 'language' in ('es', 'en'), true)
    and coalesce(p_traits ->> 'address' in ('tu', 'usted', 'vos'), true)
    and coalesce(p_traits ->> 'style' in ('concise', 'detailed'), true)
    and coalesce(jsonb_typeof(p_traits -> 'persona') = 'string'
      and char_length(p_traits ->> 'persona') between 1 and 60
      and p_traits ->> 'persona' !~ '[[:cntrl:]]', true)
$$;
comment on function private.is_personality(jsonb) is
  'Returns whether the known traits of a personality are well formed: tone, language (es, en), address (tu, usted, vos), style (concise, detailed), persona (the name that the bot gives itself). Other traits are free.';
grant execute on function private.is_personality(jsonb) to authenticated, neurant_worker,
  neurant_router;

create function private.is_template_text(p_text text) returns boolean
language sql immutable set search_path = '' as $$
  select regexp_replace(p_text, '\{\{(company_name|persona|knowledge|contact)\}\}', '', 'g')
    !~ '\{\{|\}\}'
$$;
comment on function private.is_template_text(text) is
  'Returns whether all placeholders of a text are known: {{company_name}}, {{persona}} (the bot''s own name), {{knowledge}} (where its answers come from), {{contact}} (phone, else website, else e-mail of the company).';
grant execute on function private.is_template_text(text) to neurant_router;

create function private.is_working_hours(p_hours jsonb) returns boolean
language plpgsql immutable set search_path = '' as $$
declare
  v_day text;
  v_intervals jsonb;
  v_interval jsonb;
begin
  if jsonb_typeof(p_hours) is distinct from 'object' then
    return false;
  end if;
  for v_day, v_intervals in select * from jsonb_each(p_hours) loop
    if v_day not in ('monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday')
      or jsonb_typeof(v_intervals) <> 'array' or jsonb_array_length(v_intervals) > 6 then
      return false;
    end if;
    for v_interval in select * from jsonb_array_elements(v_intervals) loop
      if jsonb_typeof(v_interval) <> 'array' or jsonb_array_length(v_interval) <> 2
        or jsonb_typeof(v_interval -> 0) <> 'string' or jsonb_typeof(v_interval -> 1) <> 'string'
        or v_interval ->> 0 !~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'
        or v_interval ->> 1 !~ '^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$'
        or v_interval ->> 0 = v_interval ->> 1 then
        return false;
      end if;
    end loop;
  end loop;
  return p_hours = '{}' or jsonb_path_exists(p_hours, '$.*[*]');
end $$;
comment on function private.is_working_hours(jsonb) is
  'Returns whether a value is a table of working hours: {"monday": [["08:00", "12:00"], ["14:00", "18:00"]], …}, in the time zone of the bot. A day that is missing or empty is closed; an interval that ends before it begins ends on the next day; {} sets no hours: people are always there.';
grant execute on function private.is_working_hours(jsonb) to authenticated, neurant_worker,
  neurant_router;

create table public.chatbot_templates (
  id uuid primary key default uuidv7(),
  name varchar(255) not null unique,
  description text not null,
  industry varchar(100) not null,
  category varchar(100) not null check (category in ('customer_service', 'sales', 'support')),
  system_prompt_template text not null,
  default_personality jsonb default '{}' check (jsonb_typeof(default_personality) = 'object'),
  recommended_settings jsonb default '{}' check (jsonb_typeof(recommended_settings) = 'object'),
  usage_count integer not null default 0 check (usage_count >= 0),
  is_featured boolean not null default false,
  is_active boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  example_conversations jsonb default '[]' check (jsonb_typeof(example_conversations) = 'array'),
  constraint chatbot_templates_industry_fkey
    foreign key (industry) references public.industries (industry),
  constraint chatbot_templates_text_check
    check (private.is_template_text(system_prompt_template)),
  constraint chatbot_templates_personality_check
    check (private.is_personality(default_personality)),
  constraint chatbot_templates_hours_check
    check (recommended_settings -> 'working_hours' is null
      or private.is_working_hours(recommended_settings -> 'working_hours')),
  constraint chatbot_templates_examples_check
    check (private.is_conversations(example_conversations))
);
comment on table public.chatbot_templates is
  'Platform table: every company reads it, migrations write it.';
create index chatbot_templates_industry_idx on public.chatbot_templates (industry);

alter table public.chatbot_templates enable row level security, force row level security;
create policy everybody_select on public.chatbot_templates for select
  to authenticated, neurant_worker, neurant_router using (true);
create policy router_update on public.chatbot_templates for update to neurant_router using (true) with check (true);
grant select on public.chatbot_templates to authenticated, neurant_worker, neurant_router;
grant update (usage_count) on public.chatbot_templates to neurant_router;

create trigger set_updated_at before update on public.chatbot_templates
  for each row execute function private.update_updated_at_column();

create table public.chatbots (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  template_id uuid references public.chatbot_templates (id),
  name varchar(255) not null check (btrim(name) <> ''),
  description text,
  avatar_url text,
  system_prompt text not null,
  personality_traits jsonb default '{}',
  response_delay_ms integer default 1000 check (response_delay_ms between 0 and 10000),
  max_context_messages integer default 10 check (max_context_messages between 1 and 50),
  fallback_message text default 'No puedo ayudarte con eso. ¿Te gustaría hablar con un operador?',
  channels jsonb not null default '[]',
  channel_configs jsonb default '{}',
  is_active boolean not null default true,
  is_training boolean not null default false,
  training_progress integer default 0 check (training_progress between 0 and 100),
  working_hours jsonb default '{}',
  timezone varchar(50) default 'America/Bogota' check (private.is_timezone(timezone)),
  hitl_enabled boolean not null default true,
  hitl_triggers jsonb default '["no_answer", "user_request", "keywords"]'
    check (jsonb_typeof(hitl_triggers) = 'array'),
  hitl_trigger_keywords text[] default '{}',
  auto_escalate_after_minutes integer default 5 check (auto_escalate_after_minutes between 1 and 1440),
  total_conversations integer not null default 0,
  total_messages integer not null default 0,
  avg_response_time_ms integer default 0,
  satisfaction_score decimal(3, 2) default 0.0,
  retired_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  created_by uuid not null,
  primary key (company_id, id),
  foreign key (company_id, created_by) references public.users (company_id, id),
  constraint chatbots_satisfaction_score_check check (satisfaction_score between 0 and 5),
  constraint chatbots_channels_check check (
    jsonb_typeof(channels) = 'array' and channels <@ '["whatsapp", "telegram", "slack", "web"]'),
  constraint chatbots_retired_check check (retired_at is null or not is_active),
  constraint chatbots_working_hours_check check (jsonb_typeof(working_hours) = 'object'),
  constraint chatbots_personality_check
    check (jsonb_typeof(personality_traits) = 'object'),
  constraint chatbots_keywords_check
    check (array_position(hitl_trigger_keywords, '') is null),
  constraint chatbots_hours_check check (private.is_working_hours(working_hours)),
  constraint chatbots_traits_check check (private.is_personality(personality_traits)),
  constraint chatbots_avatar_check check (private.is_https(avatar_url)),
  constraint chatbots_prompt_check check (char_length(system_prompt) <= 5000),
  constraint chatbots_triggers_check
    check (hitl_triggers <@ '["no_answer", "user_request", "keywords"]'),
  constraint chatbots_name_reads_check
    check (private.reads_as_name(name))
);
comment on column public.chatbots.personality_traits is
  'The words in which the bot greets, thanks and says that it does not know, and its own name (see private.is_personality). Quotes of documents stay as they are written. Without an address, the tone and the country of the time zone decide between tú, usted and vos.';
comment on column public.chatbots.max_context_messages is
  'The number of messages before the open question that a reply reads.';
comment on column public.chatbots.fallback_message is
  'What the bot says whenever it has no answer, whether or not a person is called; null: a standard text.';
comment on column public.chatbots.channels is
  'Derived: the channels of the connected channel_accounts.';
comment on column public.chatbots.working_hours is
  'When people attend (see private.is_working_hours). The bot itself always answers; outside these hours a handover waits in the queue and the customer is told when people are back.';
comment on column public.chatbots.total_conversations is
  'Conversations that ever began, archived ones as well; as of the last rollup of analytics_daily.';
comment on column public.chatbots.total_messages is
  'Messages of all conversations, archived ones as well; as of the last rollup of analytics_daily.';
comment on column public.chatbots.avg_response_time_ms is
  'Average processing_time_ms of all the bot''s messages; 0: none has one. As of the last rollup of analytics_daily.';
comment on column public.chatbots.satisfaction_score is
  'Average rating of all rated conversations; 0: none is rated. As of the last rollup of analytics_daily.';
create unique index chatbots_name_key on public.chatbots (company_id, name) where retired_at is null;
create index chatbots_created_by_idx on public.chatbots (company_id, created_by);
create index chatbots_template_idx on public.chatbots (template_id) where template_id is not null;
create index chatbots_words_idx on public.chatbots using gin (
  company_id extensions.uuid_ops,
  (to_tsvector('private.spanish'::regconfig, name || ' ' || coalesce(description, ''))
    || to_tsvector('private.words'::regconfig, name || ' ' || coalesce(description, ''))));

alter table public.chatbots enable row level security, force row level security;
create policy staff_select on public.chatbots for select to authenticated
  using (company_id = (select private.company_id('chatbots.read'))
    and ((select private.sees_all_chatbots())
      or id = any ((select private.my_chatbot_ids())::uuid[])));
create policy staff_insert on public.chatbots for insert to authenticated
  with check (company_id = (select private.company_id('chatbots.edit'))
    and created_by = (select private.user_id()));
create policy staff_update on public.chatbots for update to authenticated
  using (company_id = (select private.company_id('chatbots.edit')))
  with check (company_id = (select private.company_id('chatbots.edit')));
create policy worker_select on public.chatbots for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.chatbots for select to neurant_router using (true);
create policy router_update on public.chatbots for update to neurant_router using (true) with check (true);
grant select on public.chatbots to authenticated, neurant_worker, neurant_router;
grant insert (company_id, id, template_id, name, description, avatar_url, system_prompt,
  personality_traits, response_delay_ms, max_context_messages, fallback_message, is_active,
  working_hours, timezone, hitl_enabled, hitl_triggers, hitl_trigger_keywords,
  auto_escalate_after_minutes, created_by) on public.chatbots to authenticated;
grant update (name, description, avatar_url, system_prompt, personality_traits, response_delay_ms,
  max_context_messages, fallback_message, is_active, working_hours, timezone, hitl_enabled,
  hitl_triggers, hitl_trigger_keywords, auto_escalate_after_minutes) on public.chatbots to
  authenticated;
grant update (channels, is_active, total_conversations, total_messages, avg_response_time_ms,
  satisfaction_score, retired_at) on public.chatbots to neurant_router;

select private.audit_table('public.chatbots', 'id',
  '{response_delay_ms,max_context_messages,is_active,timezone,hitl_enabled,
    auto_escalate_after_minutes,retired_at,created_by,template_id}',
  '{name,description,avatar_url,system_prompt,personality_traits,fallback_message,
    working_hours,hitl_triggers,hitl_trigger_keywords}',
  '{channel_configs}',
  '{channels,is_training,training_progress,total_conversations,total_messages,
    avg_response_time_ms,response_time_total_ms,response_time_count,satisfaction_score,
    created_at,updated_at}');

-- A change of a derived figure is no edit of the bot.
create trigger set_updated_at before update on public.chatbots
  for each row when ((old.total_conversations, old.total_messages, old.avg_response_time_ms,
      old.satisfaction_score)
    is not distinct from (new.total_conversations, new.total_messages, new.avg_response_time_ms,
      new.satisfaction_score))
  execute function private.update_updated_at_column();

create trigger keep_chatbot_count after insert or delete or update of retired_at on public.chatbots
  for each row execute function private.count_chatbot();

create table public.chatbot_operators (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  chatbot_id uuid not null,
  operator_id uuid not null,
  assigned_by uuid not null,
  assigned_at timestamptz not null default now(),
  is_active boolean not null default true,
  primary key (company_id, id),
  unique (company_id, chatbot_id, operator_id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  foreign key (company_id, operator_id) references public.users (company_id, id),
  foreign key (company_id, assigned_by) references public.users (company_id, id)
);
create index chatbot_operators_operator_idx on public.chatbot_operators (company_id, operator_id);
create index chatbot_operators_assigned_by_idx on public.chatbot_operators (company_id, assigned_by);

alter table public.chatbot_operators enable row level security, force row level security;
create policy staff_select on public.chatbot_operators for select to authenticated
  using (company_id = (select private.company_id('chatbots.read'))
    and ((select private.sees_all_chatbots()) or operator_id = (select private.user_id())));
create policy staff_insert on public.chatbot_operators for insert to authenticated
  with check (company_id = (select private.company_id('chatbots.assign_operators'))
    and assigned_by = (select private.user_id()));
create policy staff_update on public.chatbot_operators for update to authenticated
  using (company_id = (select private.company_id('chatbots.assign_operators')))
  with check (company_id = (select private.company_id('chatbots.assign_operators')));
create policy router_select on public.chatbot_operators for select to neurant_router using (true);
create policy router_update on public.chatbot_operators for update to neurant_router
  using (true) with check (true);
grant select on public.chatbot_operators to authenticated, neurant_router;
grant insert (company_id, chatbot_id, operator_id, assigned_by) on public.chatbot_operators to
  authenticated;
grant update (is_active) on public.chatbot_operators to authenticated, neurant_router;

select private.audit_table('public.chatbot_operators', 'operator_id',
  '{chatbot_id,operator_id,assigned_by,is_active}',
  '{}',
  '{}',
  '{assigned_at}');

create trigger check_operator_role before insert or update on public.chatbot_operators
  for each row execute function private.check_operator_role();

create table public.chatbot_supervisors (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  chatbot_id uuid not null,
  supervisor_id uuid not null,
  assigned_by uuid not null,
  assigned_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, chatbot_id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  foreign key (company_id, supervisor_id) references public.users (company_id, id),
  foreign key (company_id, assigned_by) references public.users (company_id, id)
);
comment on table public.chatbot_supervisors is 'The one supervisor in charge of a bot.';
create index chatbot_supervisors_supervisor_idx on public.chatbot_supervisors (company_id, supervisor_id);
create index chatbot_supervisors_assigned_by_idx on public.chatbot_supervisors (company_id, assigned_by);

alter table public.chatbot_supervisors enable row level security, force row level security;
create policy staff_select on public.chatbot_supervisors for select to authenticated
  using (company_id = (select private.company_id('chatbots.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])));
create policy staff_insert on public.chatbot_supervisors for insert to authenticated
  with check (company_id = (select private.company_id('chatbots.assign_supervisor'))
    and assigned_by = (select private.user_id()));
create policy staff_delete on public.chatbot_supervisors for delete to authenticated
  using (company_id = (select private.company_id('chatbots.assign_supervisor')));
create policy router_select on public.chatbot_supervisors for select to neurant_router using (true);
create policy router_delete on public.chatbot_supervisors for delete to neurant_router using (true);
grant select, delete on public.chatbot_supervisors to authenticated, neurant_router;
grant insert (company_id, chatbot_id, supervisor_id, assigned_by) on public.chatbot_supervisors to
  authenticated;

select private.audit_table('public.chatbot_supervisors', 'supervisor_id',
  '{chatbot_id,supervisor_id,assigned_by}',
  '{}',
  '{}',
  '{assigned_at}');

create trigger check_supervisor_role before insert or update on public.chatbot_supervisors
  for each row execute function private.check_supervisor_role();

create function private.retire_chatbot(p_chatbot uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('chatbots.retire');
begin
  if not private.manages_company() then
    return 'not_found';
  end if;
  update public.chatbots b set retired_at = now(), is_active = false
  where b.company_id = v_company and b.id = p_chatbot and b.retired_at is null;
  if not found then
    return 'not_found';
  end if;
  update public.channel_accounts a set status = 'disconnected', status_detail = 'chatbot_retired'
  where a.company_id = v_company and a.chatbot_id = p_chatbot;
  return 'retired';
end $$;
comment on function private.retire_chatbot(uuid) is
  'Takes a bot out of service for good; its history stays. Outcome: retired or not_found. Security definer, called by staff and API keys, because supervisors edit bots, but only the owner and administradores retire them.';
grant execute on function private.retire_chatbot(uuid) to authenticated;

create function private.count_template_use() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.chatbot_templates t set usage_count = t.usage_count + 1 where t.id = new.template_id;
  return null;
end $$;
comment on function private.count_template_use() is
  'Counts the bots that began from a template. Security definer, called by a trigger, because no role that serves tenants may write templates.';

create trigger count_template_use after insert on public.chatbots
  for each row when (new.template_id is not null) execute function private.count_template_use();

create function private.is_open(p_hours jsonb, p_timezone text, p_at timestamptz) returns boolean
language sql stable set search_path = '' as $$
  select p_hours is null or p_hours = '{}' or exists (
    select
    from (select p_at at time zone p_timezone as moment) as local
    cross join lateral (values
      (lower(to_char(local.moment, 'FMday')), to_char(local.moment, 'HH24:MI'), false),
      (lower(to_char(local.moment - interval '1 day', 'FMday')), to_char(local.moment, 'HH24:MI'), true)
    ) as asked (day, clock, is_day_after)
    cross join lateral jsonb_array_elements(coalesce(p_hours -> asked.day, '[]')) as one (span)
    where case
      when asked.is_day_after then one.span ->> 1 < one.span ->> 0 and asked.clock < one.span ->> 1
      when one.span ->> 1 < one.span ->> 0 then asked.clock >= one.span ->> 0
      else asked.clock >= one.span ->> 0 and asked.clock < one.span ->> 1 end)
$$;
comment on function private.is_open(jsonb, text, timestamptz) is
  'Returns whether people attend at a time, by the hours (see is_working_hours) in the given time zone.';
grant execute on function private.is_open(jsonb, text, timestamptz) to authenticated,
  neurant_worker, neurant_router;

create function private.opens_at(p_hours jsonb, p_timezone text, p_at timestamptz)
returns timestamptz
language sql stable set search_path = '' as $$
  select min(c.moment)
  from (
    select (day.local + (one.span ->> 0)::time) at time zone p_timezone + shift.by as moment
    from generate_series(0, 8) as n (days)
    cross join lateral (
      select date_trunc('day', p_at at time zone p_timezone) + n.days * interval '1 day' as local
    ) as day
    cross join lateral jsonb_array_elements(
      coalesce(p_hours -> lower(to_char(day.local, 'FMday')), '[]')) as one (span)
    -- A clock that is set back shows an hour twice.
    cross join (values (interval '0'), (interval '1 hour'), (interval '-1 hour'),
      (interval '30 minutes'), (interval '-30 minutes')) as shift (by)
    union all
    -- Clocks are changed on the half hours, and that may happen inside of an interval.
    select date_bin('30 minutes', p_at, 'epoch') + n.halves * interval '30 minutes'
    from generate_series(1, 8 * 48) as n (halves)
  ) as c
  where not private.is_open(p_hours, p_timezone, p_at)
    and c.moment > p_at and private.is_open(p_hours, p_timezone, c.moment)
$$;
comment on function private.opens_at(jsonb, text, timestamptz) is
  'Returns when people are back; null while they attend.';
grant execute on function private.opens_at(jsonb, text, timestamptz) to authenticated,
  neurant_worker, neurant_router;

create function private.fill_template(p_text text, p_values jsonb) returns text
language plpgsql immutable set search_path = '' as $$
declare
  v_name text;
begin
  foreach v_name in array '{company_name,persona,knowledge,contact}'::text[] loop
    -- No value may bring a placeholder of its own.
    p_text := replace(p_text, '{{' || v_name || '}}',
      regexp_replace(coalesce(p_values ->> v_name, ''), '[{}]+', '', 'g'));
  end loop;
  return p_text;
end $$;
comment on function private.fill_template(text, jsonb) is
  'Returns a template''s text with its placeholders filled in.';
grant execute on function private.fill_template(text, jsonb) to authenticated;

create function private.search_chatbots(p_words text) returns table (chatbot_id uuid)
language plpgsql stable security definer set search_path = '' as $$
begin
  return query execute $query$
    select b.id from public.chatbots b
    where b.company_id = $1
      and (to_tsvector('private.spanish'::regconfig, b.name || ' ' || coalesce(b.description, ''))
        || to_tsvector('private.words'::regconfig, b.name || ' ' || coalesce(b.description, '')))
        @@ $2
      and ($3 or b.id = any ($4))
  $query$
  using private.company_id('chatbots.read'), private.typed_query(p_words, ''), private.sees_all_chatbots(),
    private.my_chatbot_ids();
end $$;
comment on function private.search_chatbots(text) is
  'Finds the bots within the caller''s scope by name and description. Security definer, called by staff and API keys, because under row level security no text index could be used.';
grant execute on function private.search_chatbots(text) to authenticated;
